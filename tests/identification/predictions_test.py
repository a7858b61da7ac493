import csv

import numpy as np
import pytest

from faceqat.identification import predictions
from faceqat.identification.answers import Answers
from faceqat.identification.face_files import LeftOut
from faceqat.identification.retrieval import Matches
from faceqat.integer import matching

PROBES = ['Ann Lee/1.jpg', 'a,"b".jpg']
FOUND = [[0, 1], [1, 0]]
COSINES = [[0.75, -0.25], [0.125, 0.0]]


def make_answers(
  threshold=None,
  prototypes=False,
  probes=PROBES,
  people=('Ann Lee', 'Bob'),
  images=('Ann Lee/0.jpg', 'Bob/0.jpg'),
  found=FOUND,
  scores=COSINES,
):
  found = np.array(found, np.int32)
  matches = Matches(found, found, np.array(scores))
  truth = [None] * len(probes)
  return Answers(probes, truth, people, images, matches, threshold, prototypes)


def written(answers, folder):
  predictions.write_csv(answers, folder / 'predictions.csv')
  with (folder / 'predictions.csv').open(newline='') as file:
    return list(csv.DictReader(file))


@pytest.mark.parametrize(
  ('threshold', 'shown'),
  [(None, [''] * 4), (0.5, ['true', 'false', 'false', 'false'])],
)
@pytest.mark.parametrize('prototypes', [False, True])
def test_a_table_has_a_line_for_every_answer(
  threshold, shown, prototypes, tmp_path
):
  rows = written(make_answers(threshold, prototypes), tmp_path)
  assert tuple(rows[0]) == predictions.COLUMNS
  assert [tuple(row.values())[:3] for row in rows] == [
    ('Ann Lee/1.jpg', '1', 'Ann Lee'),
    ('Ann Lee/1.jpg', '2', 'Bob'),
    ('a,"b".jpg', '1', 'Bob'),
    ('a,"b".jpg', '2', 'Ann Lee'),
  ]
  for row in rows:
    image = '' if prototypes else f'{row["person"]}/0.jpg'
    assert row['gallery_image'] == image
  assert [float(row['score']) for row in rows] == np.ravel(COSINES).tolist()
  assert [row['accepted'] for row in rows] == shown
  assert list(tmp_path.iterdir()) == [tmp_path / 'predictions.csv']


def test_neighbouring_integer_scores_are_told_apart(tmp_path):
  scores = [[matching.ONE // 3, matching.ONE // 3 + 1]]
  rows = written(
    make_answers(probes=['a'], found=[[0, 1]], scores=scores), tmp_path
  )
  found = [float(row['score']) for row in rows]
  assert np.rint(np.array(found) * matching.ONE).tolist() == scores[0]


def test_the_simple_form_has_three_words_a_line(tmp_path):
  path = tmp_path / 'predictions.txt'
  predictions.write_text(make_answers(), path)
  assert path.read_text() == (
    'Ann_Lee/1.jpg Ann_Lee 0.750000000\na,"b".jpg Bob 0.125000000\n'
  )
  predictions.write_text(make_answers(0.5), path)
  assert path.read_text().splitlines()[1] == 'a,"b".jpg unknown 0.125000000'


@pytest.mark.parametrize('start', ['=', '+', '-', '@', '\t', '\r', '\n'])
def test_no_name_is_a_formula_of_a_spreadsheet(start, tmp_path):
  name = f"{start}cmd|'/c calc'!A1"
  answers = make_answers(
    None, False, [name], [name], [name], found=[[0]], scores=[[-0.5]]
  )
  (row,) = written(answers, tmp_path)
  shown = f"'{name}".replace('\r', ' ').replace('\n', ' ')
  assert row['probe'] == row['person'] == row['gallery_image'] == shown
  # A number stays one.
  assert row['score'] == '-0.500000000'


def test_images_that_were_left_out_are_listed(tmp_path):
  left_out = [LeftOut('0.jpg', 'no face'), LeftOut('=1+1.jpg', '@SUM(A1)')]
  predictions.write_left_out(left_out, tmp_path / 'out')
  (path,) = (tmp_path / 'out').iterdir()
  assert path.read_text().splitlines() == [
    'image,reason',
    '0.jpg,no face',
    "'=1+1.jpg,'@SUM(A1)",
  ]
  predictions.write_left_out([], tmp_path / 'out')
  assert not path.exists()
