import json

import pytest
from journals import SETTINGS, make_record

from faceqat.preparation import journal
from faceqat.preparation.listing import Photograph

PHOTOGRAPH = Photograph('Ann', 'Ann/1.jpg', 'Ann/1', 100, 5)


def write(folder, *records):
  with journal.Journal(folder, SETTINGS) as done:
    for record in records:
      done.add(record)


def test_what_is_noted_is_found_by_a_later_run(tmp_path):
  write(tmp_path / 'work', make_record(1))
  write(tmp_path / 'work', make_record(2))
  done = journal.Journal(tmp_path / 'work', SETTINGS)
  assert done.find(PHOTOGRAPH) == make_record(1)
  assert done.find(PHOTOGRAPH._replace(name='Ann/3.jpg')) is None


@pytest.mark.parametrize(
  'change', [{'size': 99}, {'modified': 6}, {'crop': 'Ann/1.jpg'}]
)
def test_a_photograph_that_changed_is_not_done(change, tmp_path):
  write(tmp_path, make_record())
  done = journal.Journal(tmp_path, SETTINGS)
  assert done.find(PHOTOGRAPH._replace(**change)) is None


def test_a_line_that_was_cut_is_forgotten(tmp_path):
  write(tmp_path, make_record(1))
  path = tmp_path / 'journal.jsonl'
  path.write_text(path.read_text() + json.dumps(make_record(2))[:30])
  write(tmp_path, make_record(3))
  done = journal.Journal(tmp_path, SETTINGS)
  assert done.find(PHOTOGRAPH)
  assert [
    json.loads(line)['photograph'] for line in path.read_text().splitlines()
  ] == [
    'Ann/1.jpg',
    'Ann/3.jpg',
  ]


def test_other_settings_are_refused_with_the_remedy(tmp_path):
  write(tmp_path, make_record())
  with pytest.raises(ValueError, match='made with size 112, and now it is 160'):
    journal.Journal(tmp_path, {**SETTINGS, 'size': 160})


def test_a_folder_of_something_else_is_refused(tmp_path):
  (tmp_path / 'thesis.txt').write_text('')
  with pytest.raises(ValueError, match='was not made by a preparation'):
    journal.Journal(tmp_path, SETTINGS)


@pytest.mark.parametrize(
  ('file', 'content'),
  [
    ('manifest.json', '{'),
    ('manifest.json', '3'),
    ('journal.jsonl', '{\n'),
    ('journal.jsonl', '{}\n'),
  ],
)
def test_a_damaged_file_is_refused(file, content, tmp_path):
  write(tmp_path, make_record())
  (tmp_path / file).write_text(content)
  with pytest.raises(ValueError, match=f'{file} is damaged .* remove'):
    journal.Journal(tmp_path, SETTINGS)
