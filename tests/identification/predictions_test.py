import csv

import numpy as np
import pytest

from faceqat.identification import predictions
from faceqat.integer import matching

PROBES = ['Ann Lee/1.jpg', 'a,"b".jpg']
PEOPLE = [['Ann Lee', 'Bob'], ['Bob', 'Ann Lee']]
IMAGES = [['Ann Lee/0.jpg', 'Bob/0.jpg'], ['', '']]
COSINES = np.array([[0.75, -0.25], [0.125, 0.0]])


@pytest.mark.parametrize(
  ('accepted', 'shown'),
  [
    (None, ['', '', '', '']),
    (
      np.array([[True, False], [False, False]]),
      ['true', 'false', 'false', 'false'],
    ),
  ],
)
def test_a_table_has_a_line_for_every_answer(accepted, shown, tmp_path):
  path = tmp_path / 'predictions.csv'
  predictions.write_csv(path, PROBES, PEOPLE, IMAGES, COSINES, accepted)
  with path.open(newline='') as file:
    title, *rows = csv.reader(file)
  assert tuple(title) == predictions.COLUMNS
  assert [row[:4] for row in rows] == [
    ['Ann Lee/1.jpg', '1', 'Ann Lee', 'Ann Lee/0.jpg'],
    ['Ann Lee/1.jpg', '2', 'Bob', 'Bob/0.jpg'],
    ['a,"b".jpg', '1', 'Bob', ''],
    ['a,"b".jpg', '2', 'Ann Lee', ''],
  ]
  assert [float(row[4]) for row in rows] == COSINES.ravel().tolist()
  assert [row[5] for row in rows] == shown
  assert list(tmp_path.iterdir()) == [path]


def test_neighbouring_integer_scores_are_told_apart(tmp_path):
  scores = np.array([[matching.ONE // 3, matching.ONE // 3 + 1]])
  path = tmp_path / 'predictions.csv'
  predictions.write_csv(
    path, ['a'], [['b', 'c']], [['', '']], scores / matching.ONE, None
  )
  with path.open(newline='') as file:
    found = [float(row['score']) for row in csv.DictReader(file)]
  assert np.rint(np.array(found) * matching.ONE).tolist() == scores[0].tolist()


def test_the_simple_form_has_three_words_a_line(tmp_path):
  path = tmp_path / 'predictions.txt'
  predictions.write_text(path, PROBES, PEOPLE, COSINES, None)
  assert path.read_text() == (
    'Ann_Lee/1.jpg Ann_Lee 0.750000000\na,"b".jpg Bob 0.125000000\n'
  )
  accepted = np.array([[True, False], [False, False]])
  predictions.write_text(path, PROBES, PEOPLE, COSINES, accepted)
  assert path.read_text().splitlines()[1] == 'a,"b".jpg unknown 0.125000000'


@pytest.mark.parametrize('start', ['=', '+', '-', '@', '\t', '\r', '\n'])
def test_no_name_is_a_formula_of_a_spreadsheet(start, tmp_path):
  path, name = tmp_path / 'predictions.csv', f"{start}cmd|'/c calc'!A1"
  scores = np.array([[-0.5]])
  predictions.write_csv(path, [name], [[name]], [[name]], scores, None)
  with path.open(newline='') as file:
    (row,) = csv.DictReader(file)
  shown = f"'{name}".replace('\r', ' ').replace('\n', ' ')
  assert row['probe'] == row['person'] == row['gallery_image'] == shown
  # A number stays one.
  assert row['score'] == '-0.500000000'
