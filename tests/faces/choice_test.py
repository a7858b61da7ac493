import numpy as np
import pytest

from faceqat.faces import choice, detection

SHAPE = (400, 600, 3)


def face(x, y, size, score=0.9):
  """A square face, by its centre."""
  box = np.array([x - size / 2, y - size / 2, size, size])
  return detection.Face(box, np.zeros((5, 2)), score)


def test_largest_and_central_differ_where_the_largest_is_aside():
  aside, central = face(100, 100, 100), face(310, 190, 80)
  # Not the surest, nor the first.
  for faces in ([aside, central], [central, aside]):
    assert choice.choose(faces, 'largest', SHAPE) == [aside]
    assert choice.choose(faces, 'central', SHAPE) == [central]


def test_a_small_face_is_not_taken_for_being_in_the_middle():
  person, stranger = face(360, 200, 200), face(300, 200, 30)
  assert choice.choose([stranger, person], 'central', SHAPE) == [person]


def test_all_are_given_largest_first():
  faces = [face(100, 100, size) for size in (40, 90, 60)]
  chosen = choice.choose(faces, 'all', SHAPE)
  assert [f.box[2] for f in chosen] == [90, 60, 40]


@pytest.mark.parametrize('name', choice.CHOICES)
def test_no_face_gives_none_and_one_gives_itself(name):
  assert choice.choose([], name, SHAPE) == []
  assert not choice.is_ambiguous([], name, SHAPE)
  one = face(5, 5, 10)
  assert choice.choose([one], name, SHAPE) == [one]
  assert not choice.is_ambiguous([one], name, SHAPE)


@pytest.mark.parametrize(
  ('area', 'ambiguous'), [(0.2, False), (0.49, False), (0.51, True), (1, True)]
)
def test_faces_of_similar_area_are_ambiguous(area, ambiguous):
  faces = [face(200, 200, 100 * area**0.5), face(400, 200, 100)]
  assert choice.is_ambiguous(faces, 'largest', SHAPE) is ambiguous
  assert not choice.is_ambiguous(faces, 'all', SHAPE)


def test_a_central_face_is_clear_though_another_is_as_large():
  faces = [face(300, 200, 100), face(500, 200, 100)]
  assert choice.is_ambiguous(faces, 'largest', SHAPE)
  assert not choice.is_ambiguous(faces, 'central', SHAPE)
  # Two that stand on both sides of the centre are not.
  faces = [face(240, 200, 100), face(365, 200, 100)]
  assert choice.is_ambiguous(faces, 'central', SHAPE)


def test_faces_far_from_the_centre_can_still_be_told_apart():
  # Both ranks are negative.
  faces = [face(50, 50, 50), face(100, 100, 60)]
  assert choice.choose(faces, 'central', SHAPE) == [faces[1]]
  assert not choice.is_ambiguous(faces, 'central', SHAPE)


def test_another_choice_is_refused_with_those_there_are():
  for function in (choice.choose, choice.is_ambiguous):
    with pytest.raises(ValueError, match=r"'best'.*largest, central, all"):
      function([], 'best', SHAPE)
