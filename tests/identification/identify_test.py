import shutil

import command_line
import numpy as np
import pytest
from identify_run import SIZE, read, table_of
from PIL import Image

from faceqat import identify as command
from faceqat.data import datasets
from faceqat.evaluators import identification_rates, verification
from faceqat.identification import answers, embedders, gallery
from faceqat.identification.identify import Outcome
from faceqat.identification.settings import Settings
from faceqat.integer import matching

pytest_plugins = ['identify_fixtures']


def person_of(row):
  return row['probe'].split('/')[0]


@pytest.fixture
def drawn(monkeypatch):
  """The rows and titles of contact sheets, which are not drawn."""
  sheets = []
  monkeypatch.setattr(
    answers.contact_sheet,
    'contact_sheet',
    lambda rows, title, path: sheets.append((rows, title)),
  )
  return sheets


def test_probes_are_answered_with_people_and_images(ask, tmp_path, capsys):
  out = tmp_path / 'made' / 'here'
  rows = ask(out, sheet_rows=24)
  # 18 probes with 5 answers each, by falling score.
  assert len(rows) == 18 * 5
  right = [person_of(row) == row['person'] for row in rows]
  for start in range(0, len(rows), 5):
    found = rows[start : start + 5]
    assert [row['rank'] for row in found] == list('12345')
    assert len({row['person'] for row in found}) == 5
    scores = [float(row['score']) for row in found]
    assert scores == sorted(scores, reverse=True)
  for row in rows:
    assert row['gallery_image'].startswith(f'{row["person"]}/')
    assert row['accepted'] == ''
  shown = table_of(capsys.readouterr().out)
  assert shown['people'] == '6'
  assert shown['templates'] == shown['probes'] == shown['in gallery'] == '18'
  assert shown['type'] == 'int16'
  assert shown['top-1 %'] == f'{100 * np.mean(right[::5]):.2f}'
  hits = np.reshape(right, [18, 5]).any(axis=1)
  assert shown['top-5 %'] == f'{100 * np.mean(hits):.2f}'
  # The same in one line a probe.
  lines = (out / 'predictions.txt').read_text().splitlines()
  assert lines == [
    f'{row["probe"]} {row["person"]} {row["score"]}' for row in rows[::5]
  ]
  with Image.open(out / 'contact_sheet.png') as picture:
    assert picture.size[1] > 18 * 112
  assert sorted(path.name for path in out.iterdir()) == [
    'contact_sheet.png',
    'predictions.csv',
    'predictions.txt',
  ]


def test_scores_are_those_of_matching_in_integers(
  program, people, ask, tmp_path
):
  probe = people / 'probes' / 'person_000002' / '3.png'
  (row,) = ask(tmp_path, probe=probe, k=1)
  # An image by itself has no person to compare with.
  assert row['probe'] == '3.png'
  images = [read(probe), read(people / 'gallery' / row['gallery_image'])]
  predict = embedders.load(program).predict
  a, b = verification.embed(predict, images, 2)
  score = int(matching.cosine(a, b))
  # Nine decimals have every bit of a score.
  assert round(float(row['score']) * matching.ONE) == score


@pytest.mark.parametrize('precision', ['float', 'fake_quant', 'integer'])
def test_people_kept_out_of_training_are_found_as_in_the_evaluation(
  precision, quantized_run, ask, tmp_path, capsys
):
  ask(tmp_path, quantized_run[0], held_out=3, precision=precision)
  shown = table_of(capsys.readouterr().out)
  embedder = embedders.load(quantized_run[0], precision)
  source = datasets.make_held_out_people(embedder.network.config.data)
  first, others = identification_rates.split_gallery(source.labels, 3)
  images = [source[int(i)]['image'] for i in (*first, *others)]
  embeddings = verification.embed(embedder.predict, images, 16)
  ranks = identification_rates.search(
    embeddings[: len(first)],
    embeddings[len(first) :],
    source.labels[others],
  ).ranks
  assert shown['precision'] == precision
  assert shown['people'] == shown['templates'] == str(len(first))
  assert shown['top-1 %'] == f'{100 * np.mean(ranks <= 1):.2f}'
  assert shown['top-5 %'] == f'{100 * np.mean(ranks <= 5):.2f}'


@pytest.mark.parametrize('int8', [False, True])
@pytest.mark.parametrize('prototypes', [False, True])
def test_a_saved_gallery_answers_as_its_folder_does(
  int8, prototypes, ask, tmp_path, capsys
):
  saved = tmp_path / 'people.safetensors'
  fresh = ask(
    tmp_path / 'a', prototypes=prototypes, save_gallery=saved, int8=int8
  )
  again = ask(tmp_path / 'b', prototypes=prototypes, gallery=saved)
  assert again == fresh
  shown = table_of(capsys.readouterr().out)
  assert shown['type'] == ('int8' if int8 else 'int16')
  images = {row['gallery_image'] for row in again}
  # A mean of images is none of them.
  assert (images == {''}) == prototypes
  if prototypes:
    assert shown['templates'] == '6 means of 18'


def test_a_grown_gallery_answers_as_one_made_at_once(
  people, ask, tmp_path, capsys
):
  for number, folder in enumerate(sorted((people / 'gallery').iterdir())):
    # Half of the people first; of one of them two images come later.
    for image in sorted(folder.iterdir()):
      early = number < 3 and (number or image.name == '0.png')
      part = tmp_path / ('early' if early else 'late') / folder.name
      part.mkdir(parents=True, exist_ok=True)
      shutil.copy(image, part)
  saved = tmp_path / 'people.safetensors'
  early = {'gallery': tmp_path / 'early', 'probe': None}
  assert ask(tmp_path / 'a', save_gallery=saved, **early) is None
  assert not (tmp_path / 'a').exists()
  more = {'gallery': saved, 'add': tmp_path / 'late'}
  grown = ask(tmp_path / 'b', save_gallery=saved, **more)
  assert grown == ask(tmp_path / 'c')
  capsys.readouterr()
  ask(tmp_path / 'd', **more)
  printed = capsys.readouterr().out
  assert '11 images are in the gallery already' in printed
  assert table_of(printed)['templates'] == '18'


def test_a_gallery_of_another_network_or_precision_is_refused(
  quantized_run, ask, tmp_path
):
  saved = tmp_path / 'people.safetensors'
  run = quantized_run[0]
  ask(tmp_path / 'a', run, probe=None, save_gallery=saved)
  # The program of the run is the same network.
  assert ask(tmp_path / 'b', gallery=saved)
  out = tmp_path / 'c'
  with pytest.raises(ValueError, match='give --precision=integer, or make the'):
    ask(out, run, precision='float', gallery=saved)
  made = gallery.load(saved)
  other = made.maker.__class__('integer', 'ab' * 32, made.maker.fingerprint)
  object.__setattr__(made, 'maker', other)
  gallery.save(made, saved)
  with pytest.raises(ValueError, match='was made by another network'):
    ask(out, gallery=saved)
  assert not out.exists()


def test_a_gallery_with_one_person_works_and_says_what_that_means(
  people, ask, tmp_path, capsys
):
  one = tmp_path / 'gallery'
  shutil.copytree(people / 'gallery' / 'person_000002', one / 'person_000002')
  rows = ask(tmp_path / 'out', gallery=one)
  assert {row['person'] for row in rows} == {'person_000002'}
  printed = capsys.readouterr().out
  assert 'has one person, person_000002, who is everybody' in printed
  shown = table_of(printed)
  assert shown['in gallery'] == '3'
  assert shown['top-1 %'] == '100.00'


def test_probes_of_the_gallery_and_similar_names_are_said(
  people, ask, tmp_path, capsys
):
  probes = tmp_path / 'probes'
  shutil.copytree(people / 'probes', probes)
  shutil.copy(
    people / 'gallery' / 'person_000001' / '0.png', probes / 'copy.png'
  )
  (probes / 'person_000004').rename(probes / 'Person  000004')
  rows = ask(tmp_path / 'out', probe=probes)
  printed = capsys.readouterr().out
  assert '1 of 19 probes are images of the gallery, the first one copy.png' in (
    printed
  )
  assert "'Person  000004' and 'person_000004' are taken for different" in (
    printed
  )
  copy = next(row for row in rows if row['probe'] == 'copy.png')
  assert copy['person'] == 'person_000001'
  assert float(copy['score']) == 1
  # Names with spaces are one word in the simple form.
  lines = (tmp_path / 'out' / 'predictions.txt').read_text().splitlines()
  assert all(len(line.split(' ')) == 3 for line in lines)
  assert any(line.startswith('Person_000004/3.png ') for line in lines)


def test_a_saved_gallery_has_pictures_of_what_is_added_again(
  people, ask, tmp_path, drawn
):
  saved = tmp_path / 'people.safetensors'
  ask(tmp_path, sheet_rows=3, save_gallery=saved)
  ask(tmp_path, sheet_rows=3, gallery=saved)
  ask(tmp_path, sheet_rows=3, gallery=saved, add=people / 'gallery')
  fresh, bare, again = (
    [match.picture for _, matches in rows for match in matches]
    for rows, _ in drawn
  )
  assert all(picture is None for picture in bare)
  np.testing.assert_array_equal(again, fresh)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'gallery': None}, 'give --gallery'),
    ({'probe': None}, r'give --probe, .* or --save_gallery'),
    ({'save_gallery': 'nowhere/a'}, r'there is no folder nowhere; make it'),
    ({'out': 'mine'}, 'mine is a file; give a folder'),
  ],
)
def test_missing_flags_and_folders_are_named(changes, message, ask, tmp_path):
  (tmp_path / 'mine').touch()
  changes = {'out': 'out', **changes}
  with pytest.raises(ValueError, match=message):
    ask(tmp_path / changes.pop('out'), **changes)


def test_the_worst_answers_come_first_on_a_sheet_that_is_too_small(
  ask, tmp_path, drawn
):
  rows = ask(tmp_path, sheet_rows=4)
  wrong = [row['probe'] for row in rows[::5] if person_of(row) != row['person']]
  ((shown, title),) = drawn
  assert '18 probes, 4 shown, wrong ones first' in title
  names = [probe.lines[1] for probe, _ in shown]
  assert len(names) == 4
  assert names[: len(wrong)] == wrong[:4]
  for probe, matches in shown:
    person = probe.lines[1].split('/')[0]
    assert probe.picture.shape == (SIZE, SIZE, 3)
    for rank, match in enumerate(matches):
      right = match.lines[0] == person
      assert match.mark == ('right' if right else '' if rank else 'wrong')
    assert probe.mark == matches[0].mark


def test_flags_become_settings_and_have_their_defaults(monkeypatch):
  asked = []

  def note(*arguments):
    asked.append(arguments)
    return Outcome(None, None, 'integer', [])

  monkeypatch.setattr('faceqat.identification.identify.identify', note)
  command_line.run(command, model='run')
  flags = {'gallery': 'a', 'probe': 'b', 'k': 3, 'stored_size': '64,48'}
  command_line.run(command, '--int8', model='run', **flags)
  settings = Settings(int8=True, k=3, stored_size=(64, 48))
  assert asked == [('run', None, None, Settings()), ('run', 'a', 'b', settings)]
