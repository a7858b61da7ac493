import numpy as np
import pytest

from faceqat.evaluators import identification


class _People:
  """Image i of a source is filled with the i-th value."""

  def __init__(self, labels, values):
    self.labels, self.values = np.array(labels), values

  def __len__(self):
    return len(self.labels)

  def __getitem__(self, index):
    return {'image': np.full((2, 2, 3), self.values[index], np.uint8)}


def _direction(images):
  """An angle of so many degrees as the pixels say."""
  angles = np.deg2rad(images[:, 0, 0, 0].astype(float))
  return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_first_images_are_the_gallery_and_the_next_ones_probes():
  labels = [2, 0, 2, 5, 0, 2, 2, 0]
  gallery, probes = identification.split_gallery(labels, 3)
  assert gallery.tolist() == [1, 0, 3]
  # The fourth image of person 2 is left out; person 5 has but one.
  assert probes.tolist() == [4, 7, 2, 5]


def test_ranks_equal_counting_and_the_scale_plays_no_part():
  rng = np.random.default_rng(0)
  gallery, probes = rng.normal(size=(30, 6)), rng.normal(size=(2500, 6))
  mates = rng.integers(30, size=2500)
  ranks = identification.find_ranks(gallery, probes, mates)
  cosines = (probes / np.linalg.norm(probes, axis=1)[:, None]) @ (
    gallery / np.linalg.norm(gallery, axis=1)[:, None]
  ).T
  for probe in (0, 1, 1023, 1024, 2499):
    order = np.argsort(-cosines[probe])
    assert ranks[probe] == 1 + order.tolist().index(mates[probe])
  scaled = identification.find_ranks(gallery * 7, probes / 3, mates)
  np.testing.assert_array_equal(scaled, ranks)


@pytest.mark.parametrize('value', [0, 1])
def test_ties_stand_before_the_right_person(value):
  same = np.full([3, 4], value, np.int32)
  ranks = identification.find_ranks(same, same, np.arange(3))
  assert ranks.tolist() == [3, 3, 3]
  # A cosine that only rounding parts from the right one is a tie too.
  gallery = np.array([[3, 1], [0.3, 0.1]])
  assert identification.find_ranks(
    gallery, np.array([[1.0, 2.0]]), np.array([0])
  ) == [2]


def test_rates_of_a_source_are_those_of_its_probes():
  # Seven people ten degrees apart; of the probes one is nearest to another.
  labels = np.repeat(np.arange(7), 3)
  values = labels * 10 + np.tile([0, 2, 3], 7)
  values[5] = 6  # Person 1, as near to person 0 as makes her second.
  values[20] = 0  # Person 6, whose image is that of person 0: last.
  rates = dict(
    identification.evaluate(
      _direction, _People(labels, values), images_per_person=3, batch_size=4
    )
  )
  # 6 degrees are nearer to 10 than to 0.
  assert rates == {'rank1': 13 / 14, 'rank5': 13 / 14}


def test_ranks_that_everybody_reaches_are_not_given():
  source = _People([0, 0, 1, 1, 2, 2], [0, 1, 20, 21, 40, 41])
  rates = identification.evaluate(
    _direction, source, images_per_person=2, batch_size=6
  )
  assert dict(rates) == {'rank1': 1}


@pytest.mark.parametrize('images', [1, 2])
def test_nobody_to_search_for_is_an_error(images):
  labels = [0, 1, 2] if images == 2 else [0, 0, 1]
  source = _People(labels, [0, 20, 40])
  with pytest.raises(ValueError, match='needs two images of a person'):
    dict(
      identification.evaluate(
        _direction, source, images_per_person=images, batch_size=6
      )
    )
