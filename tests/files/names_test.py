import unicodedata

import pytest

from faceqat.data import summary
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files import names
from faceqat.identification import cautions, embedders, inputs
from faceqat.identification.settings import Settings
from faceqat.preparation import selection, splits

# Two ways to write one person's name.
WRITTEN = [('Jose', 'José'), ('O.Neil', 'ONeil'), ("D'Arcy", 'DArcy')]


class People(list):
  """Images of people, as a training set has them."""

  def __init__(self, *class_names):
    super().__init__(class_names)
    self.class_names = class_names


def test_names_that_people_write_differently_are_one():
  people = ['ann_lee', 'Ann Lee', 'Anna Lee', 'José', 'Jose', '_', '-', '王']
  same = [['Ann Lee', 'ann_lee'], ['Jose', 'José']]
  assert names.similar(people) == same


def test_the_forms_of_a_letter_in_unicode_are_one():
  forms = [unicodedata.normalize(form, 'Zoë') for form in ('NFC', 'NFD')]
  assert names.similar(forms) == [sorted(forms)]
  assert names.plain_name('ＡＮＮ') == 'ann'


def test_a_name_that_comes_twice_is_no_group():
  assert names.similar(['Ann', 'Ann', 'Bob']) == []


@pytest.mark.parametrize('written', WRITTEN)
def test_one_person_is_one_when_a_set_is_prepared_and_when_it_is_trained_on(
  written,
):
  one, other = written
  assert selection.select([], written).findings['same_names'] == [[one, other]]
  assert splits.shared_by_name([one, 'Eve'], [other]) == {one: other}
  both = f'{one!r} and {other!r} are trained as different people'
  assert both in summary.summarize(People(*written), People(*written), [])[-1]


@pytest.mark.parametrize('written', WRITTEN)
def test_one_person_is_one_when_identified(written, tmp_path, capsys):
  one, other = written
  cautions.of_names({*written, 'Eve', None})
  warning = f'warning: {one!r} and {other!r} are taken for different people'
  assert capsys.readouterr().out.startswith(warning)
  for person in (f'gallery/{one}', f'strangers/{other}'):
    (tmp_path / person).mkdir(parents=True)
    (tmp_path / person / '1.png').touch()
  embedder = embedders.Embedder(
    *(None, (32, 32), 0, 'integer', Fingerprint('drawn', 32)),
    *(None, lambda _: '', True),
  )
  settings = Settings(
    calibration=tmp_path / 'strangers', false_positive_rate=0.1
  )
  with pytest.raises(ValueError, match=f'people of the gallery: {other};'):
    inputs.list_inputs('net', tmp_path / 'gallery', None, settings, embedder)
