"""A packaged network, of which a small one takes the place, on other faces."""

import numpy as np
import packaged_stand_in
import pytest

from faceqat.calibration import recalibration
from faceqat.calibration.lower import lower
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.integer import program as integer_program


def dark_faces(people=6, images=3):
  """Of a camera at night: everything lies in the lowest 32 levels."""
  drawn = SyntheticFaces(people, images, image_size=32, seed=9)
  faces = np.stack([drawn[i]['image'] for i in range(len(drawn))])
  return faces // 8, [drawn.class_names[label] for label in drawn.labels]


@pytest.fixture(scope='module')
def shipped(quantized_run):
  with pytest.MonkeyPatch.context() as patch:
    yield packaged_stand_in.install(patch, quantized_run[0])


@pytest.fixture(scope='module')
def found(shipped):
  return recalibration.recalibrate(
    packaged_stand_in.NAME, shipped, *dark_faces()
  )


def test_ranges_of_the_own_faces_take_the_place_of_those_that_ship(
  found, shipped
):
  # One of six people is held out.
  assert found.images == 15
  assert len(found.own.cosines) == len(found.packaged.cosines) == 3
  before, after = (
    {op.output: program.tensors[op.output] for op in program.operators}
    for program in (lower(shipped), lower(found.network))
  )
  assert before.keys() == after.keys()
  stem = next(c for c in found.changes if c.layer == 'stem')
  assert np.diff(stem.after) < np.diff(stem.before)
  assert after['stem'].scale < before['stem'].scale
  shares = [change.share for change in found.changes]
  assert shares == sorted(shares, reverse=True)
  assert shares[0] > 0
  # Steps of the size that dark faces need.
  assert found.own.cosines.mean() > found.packaged.cosines.mean()
  for form, network in ((found.packaged, shipped), (found.own, found.network)):
    assert form.digest == integer_program.digest(lower(network))
  # The weights stay.
  old, new = (n.variables['params'] for n in (shipped, found.network))
  np.testing.assert_array_equal(old['stem']['kernel'], new['stem']['kernel'])


def test_the_same_images_make_the_same_program(found, shipped):
  images, people = dark_faces()
  again = recalibration.recalibrate(
    packaged_stand_in.NAME, shipped, images, people
  )
  assert again.own.digest == found.own.digest
  assert again.changes == found.changes
  other = recalibration.recalibrate(
    packaged_stand_in.NAME, shipped, images[::-1] // 2, people
  )
  assert other.own.digest != found.own.digest


def test_nobody_is_both_calibrated_and_compared_on():
  people = [name for name in 'abcdefghijk' for _ in range(3)]
  kept = recalibration.held_out(people)
  held = {name for name, out in zip(people, kept) if out}
  assert held == {'e', 'j'}
  assert not held & {name for name, out in zip(people, kept) if not out}


@pytest.mark.parametrize('people', [['a', 'b'] * 5, [None] * 10])
def test_of_few_people_images_are_held_out(people):
  kept = recalibration.held_out(people)
  assert np.flatnonzero(kept).tolist() == [4, 9]


def test_the_fewest_images_leave_one_to_compare_on():
  kept = recalibration.held_out([None] * recalibration.LEAST_IMAGES)
  assert 1 <= kept.sum() < recalibration.LEAST_IMAGES / 2
