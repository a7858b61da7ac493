import numpy as np
import pytest

from faceqat.identification import answers
from faceqat.identification.face_files import LeftOut
from faceqat.identification.retrieval import Matches

# Who is in the pictures, and with which scores they are said to be whom.
TRUTH = ['Ann', 'Ann', 'Bob', 'Eve', None]
FOUND = [[0, 1], [1, 0], [1, 0], [0, 1], [1, 0]]
SCORES = [[0.9, 0.1], [0.6, 0.5], [0.3, 0.2], [0.55, 0.4], [0.2, 0.1]]


def make_answers(threshold=None, truth=TRUTH):
  people = np.array(FOUND[: len(truth)], np.int32)
  scores = np.array(SCORES[: len(truth)], np.float32)
  return answers.Answers(
    probes=[f'{i}.jpg' for i in range(len(truth))],
    truth=truth,
    people=('Ann', 'Bob'),
    images=('Ann/0.jpg', 'Bob/0.jpg'),
    matches=Matches(people, people, scores),
    threshold=threshold,
    prototypes=False,
  )


def test_shares_are_of_those_whom_they_are_about():
  # Of Ann, Ann and Bob one is taken for another.
  assert answers.summarize(make_answers()) == {'top1': 2 / 3, 'top2': 1.0}
  assert answers.summarize(make_answers(0.5)) == {
    'top1': 2 / 3,
    'top2': 1.0,
    # The first two, and Eve.
    'accepted': 3 / 5,
    'tpir': 1 / 3,
    'fpir': 1.0,
  }
  # At the threshold is accepted; float32 and Python's floats agree on that.
  at_eve = float(np.float32(0.55))
  assert answers.summarize(make_answers(at_eve))['fpir'] == 1
  above = float(np.nextafter(np.float32(0.55), np.float32(1)))
  assert answers.summarize(make_answers(above))['fpir'] == 0


def test_each_image_of_a_gallery_may_have_a_threshold():
  found = make_answers(np.array([0.55, 0.25]))
  # By the image that matched: the first is of Ann, the second of Bob.
  np.testing.assert_array_equal(
    found.accepted,
    [[True, False], [True, False], [True, False], [True, True], [False, False]],
  )
  assert found.middle_threshold == pytest.approx(0.4)


def test_what_nobody_can_know_is_left_out():
  assert answers.summarize(make_answers(truth=[None, None])) == {}
  assert answers.summarize(make_answers(0.0, truth=['Eve'])) == {
    'accepted': 1.0,
    'fpir': 1.0,
  }


@pytest.mark.parametrize(
  ('threshold', 'verdicts'),
  [
    (
      None,
      [
        ('right', 'right'),
        ('wrong', 'wrong'),
        ('right', 'right'),
        ('wrong', 'not in the gallery'),
        ('', 'probe'),
      ],
    ),
    (
      0.58,
      [
        ('right', 'right'),
        ('wrong', 'wrong'),
        ('unknown', 'missed'),
        ('right', 'unknown'),
        ('unknown', 'unknown'),
      ],
    ),
  ],
)
def test_each_probe_has_a_verdict(threshold, verdicts):
  made = make_answers(threshold)
  assert [made.verdict(p) for p in range(5)] == verdicts


def test_the_answers_are_drawn_with_their_marks(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(
    answers.contact_sheet,
    'contact_sheet',
    lambda rows, title, path: drawn.append((rows, title)),
  )
  answers.draw(
    make_answers(0.58),
    pictures=[lambda p=p: f'probe {p}' for p in range(5)],
    # Bob is from a saved gallery, which has no pictures.
    gallery_pictures=[lambda: 'Ann', None],
    labels=np.array([0, 1]),
    title='test',
    max_rows=3,
    path=tmp_path / 'sheet.png',
  )
  ((rows, title),) = drawn
  assert title == ('test: 5 probes, 3 shown, wrong ones first; threshold 0.580')
  # The wrong one, then those that are unknown.
  assert [probe.picture for probe, _ in rows] == [
    'probe 1',
    'probe 2',
    'probe 4',
  ]
  first = rows[0][1]
  assert [tile.picture for tile in first] == [None, 'Ann']
  assert [tile.mark for tile in first] == ['wrong', 'right']
  assert [tile.lines for tile in first] == [
    ('Bob', '0.600'),
    ('Ann', '0.500, below'),
  ]


def test_the_first_images_that_were_left_out_are_printed(capsys):
  left_out = [LeftOut(f'{i}.jpg', f'{i}.jpg is broken') for i in range(8)]
  left_out[1] = LeftOut('1.jpg', 'no face')
  answers.show_left_out(left_out)
  printed = capsys.readouterr().out.splitlines()
  assert printed[1] == 'left out: 1.jpg: no face'
  assert printed[-1] == '... and 3 more'
