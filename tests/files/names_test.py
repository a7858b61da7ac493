import unicodedata

from faceqat.files import names


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
