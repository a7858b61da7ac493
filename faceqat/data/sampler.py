"""The order of batches of P people with K images each, by random access.

Losses that compare the images of a batch (triplets: Hermans et al. 2017,
section 2) need several images of each person in it. The image at a place of the
stream depends on that place and the seed alone, so a position is one number,
and the stream is the same on any number of processes.
"""

import functools
import sys
from collections.abc import Sequence

import numpy as np


class PeopleOrder:
  """Place in the stream of images -> index of the image.

  A batch is P different people, one after the other, with K images of each.
  Everybody comes once in an epoch, in an order of its own; where P does not
  divide the people, the rest of that order is left out.

  The K images of a person differ. From epoch to epoch they go through a random
  order of all of that person's images, then through another (each without its
  rest where K does not divide them). Fewer than K are repeated: augmentation
  makes the repeats differ; without it they are a pair at distance 0, which
  teaches nothing and does no harm.
  """

  def __init__(
    self,
    labels: np.ndarray,
    *,
    batch_size: int,
    people_per_batch: int,
    seed: int,
  ):
    """Finds the images of each person.

    Args:
      labels: int [N], the person of each image.
      batch_size: images in a global batch, P * K.
      people_per_batch: P.
      seed: another seed gives another order.

    Raises:
      ValueError: P is below 2 or does not divide the batch, K is below 2, or
        there are fewer than P people.
    """
    if people_per_batch < 2 or batch_size % people_per_batch:
      raise ValueError(
        f'people_per_batch is {people_per_batch}, wanted 2 or more that divide '
        f'the batch_size of {batch_size}; or 0, for images in any order'
      )
    if batch_size == people_per_batch:
      raise ValueError(
        f'people_per_batch is {people_per_batch} in a batch of {batch_size}, '
        'which leaves each of them one image: wanted at most '
        f'{batch_size // 2}, for two or more'
      )
    # A class may have lost all of its images to another part of the data.
    self._members = [group for group in by_person(labels) if len(group)]
    if len(self._members) < people_per_batch:
      raise ValueError(
        f'people_per_batch is {people_per_batch}, and the source has images of '
        f'{len(self._members)} people: use a smaller people_per_batch'
      )
    self._people_per_batch = people_per_batch
    self._images_per_person = batch_size // people_per_batch
    self._seed = seed

  def __len__(self) -> int:
    # The stream has no end; no sequence of Python can be longer.
    return sys.maxsize

  def __getitem__(self, place: int) -> int:
    turn, image = divmod(place, self._images_per_person)
    batch, person = divmod(turn, self._people_per_batch)
    people = group_of(
      len(self._members), self._people_per_batch, batch, (self._seed, 0)
    )
    members = self._members[people[person]]
    epoch = batch // (len(self._members) // self._people_per_batch)
    key = (self._seed, 1, int(people[person]))
    chosen = group_of(len(members), self._images_per_person, epoch, key)
    return int(members[chosen[image]])


def by_person(labels: Sequence[int]) -> list[np.ndarray]:
  """The image indices of every person 0 .. max, int64, in source order."""
  order = np.argsort(labels, kind='stable')
  ends = np.cumsum(np.bincount(labels))
  return np.split(order, ends[:-1])


def group_of(
  count: int, size: int, turn: int, key: tuple[int, ...]
) -> np.ndarray:
  """The `turn`-th group of `size` of the numbers 0 .. count-1.

  Groups are cut from a random order of all numbers, and from a new one where
  what is left is too small for another; fewer numbers than `size` are repeated.

  Returns:
    int64 [size]: different numbers, if there are as many.
  """
  round_, group = divmod(turn, max(count // size, 1))
  order = _shuffled(count, (*key, round_))
  return np.resize(order[group * size : (group + 1) * size], size)


# The people of an epoch are looked up for every image, a person's images for
# each of his places in a batch; and several batches are read at a time.
@functools.lru_cache(maxsize=1024)
def _shuffled(count: int, key: tuple[int, ...]) -> np.ndarray:
  return np.random.default_rng(key).permutation(count)
