"""Which people a data set has, and to which part of it each belongs."""

import hashlib
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from faceqat.files.names import plain_name
from faceqat.preparation.duplicates import group

SPLITS = ('train', 'validation', 'test')


def parse_shares(
  percentages: Sequence[str | float],
) -> tuple[float, float, float]:
  """The shares of train, validation and test.

  >>> parse_shares(['80', '10', '10'])
  (0.8, 0.1, 0.1)

  Raises:
    ValueError: they are not three numbers that sum to 100.
  """
  try:
    shares = [float(share) for share in percentages]
  except ValueError:
    shares = []
  if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 100) > 1e-6:
    raise ValueError(
      f'split is {",".join(map(str, percentages))}, wanted three percentages '
      'that sum to 100: of the people in train, validation and test, such as '
      '80,10,10'
    )
  return tuple(share / 100 for share in shares)


def split_people(
  people: Sequence[str],
  shares: Sequence[float],
  seed: int,
  together: Iterable[Sequence[str]] = (),
) -> dict[str, list[str]]:
  """Distributes people over train, validation and test.

  The order of the people does not matter. Whoever is somewhere is nowhere
  else, and people who may be one (`together`) are in one part.

  Args:
    people: their names.
    shares: of the people in the three `SPLITS`, summing to one; what is next
      to the wanted numbers is taken where they are not whole, or where people
      stay together.
    seed: another seed gives other parts.
    together: groups of people who must not be parted.

  Returns:
    Sorted names, for each split with a share above zero.

  Raises:
    ValueError: a split with a share would have nobody.
  """
  people = sorted(people)
  sets = _sets(people, together)
  # A hash for each set, not a shuffle of all: another set leaves the order of
  # these as it is.
  sets.sort(key=lambda members: _digest(seed, members[0]))
  parts = {name: [] for name, share in zip(SPLITS, shares) if share > 0}
  ends = np.cumsum([share for share in shares if share > 0]) * len(people)
  placed = 0
  for members in sets:
    # The part in which the middle of this set comes to lie.
    middle = placed + len(members) / 2
    index = min(int(np.searchsorted(ends, middle)), len(parts) - 1)
    parts[list(parts)[index]] += members
    placed += len(members)
  for name, members in parts.items():
    if not members:
      raise ValueError(
        f'The split {name!r} would have none of the {len(people)} people: '
        'prepare more people, or give it a larger share or 0.'
      )
    members.sort()
  return parts


def shared_by_name(
  people: Iterable[str], evaluation_people: Iterable[str]
) -> dict[str, str]:
  """Who has the name of somebody in an evaluation set, and of whom there.

  Names are compared as `plain_name` writes them.
  """
  known = {plain_name(name): name for name in evaluation_people}
  shared = {person: known.get(plain_name(person)) for person in people}
  return {person: name for person, name in shared.items() if name}


def _sets(
  people: list[str], together: Iterable[Sequence[str]]
) -> list[list[str]]:
  """All people, each in one list: alone, or with whom they stay together."""
  index = {person: place for place, person in enumerate(people)}
  pairs = []
  for names in together:
    places = [index[name] for name in names if name in index]
    pairs += itertools.pairwise(places)
  groups = group(len(people), np.array(pairs, np.int64).reshape(-1, 2))
  grouped = {place for members in groups for place in members}
  return [[people[place] for place in members] for members in groups] + [
    [person] for place, person in enumerate(people) if place not in grouped
  ]


def _digest(seed: int, name: str) -> bytes:
  return hashlib.sha256(f'{seed}:{name}'.encode()).digest()
