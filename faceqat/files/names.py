"""Names of people: which are one, and a few of many."""

import collections
import re
import unicodedata
from collections.abc import Collection, Sequence

import numpy as np

_BETWEEN_WORDS = re.compile(r'[\W_]+')


def plain_name(name: str) -> str:
  """A name without case, accents, spaces, punctuation and forms of letters.

  >>> plain_name('Ann_Lee'), plain_name("D'Arcy"), plain_name('José')
  ('annlee', 'darcy', 'jose')
  """
  letters = unicodedata.normalize('NFKD', name).casefold()
  letters = ''.join(c for c in letters if not '\u0300' <= c <= '\u036f')
  return _BETWEEN_WORDS.sub('', letters) or name


def first_few(names: Sequence[str], count: int, separator: str = ', ') -> str:
  """The first names, and how many more there are.

  >>> first_few(['a', 'b', 'c'], 2)
  'a, b and 1 more'
  """
  more = len(names) - count
  return separator.join(names[:count]) + (f' and {more:,} more' * (more > 0))


def similar(names: Collection[str]) -> list[list[str]]:
  """The groups of names whose plain names are one, each sorted."""
  # Of millions of names the few that are alike, by their hashes.
  hashes = np.fromiter((hash(plain_name(name)) for name in names), np.int64)
  in_order = np.sort(hashes)
  repeated = {*in_order[1:][in_order[1:] == in_order[:-1]].tolist()}
  alike = {name for name, h in zip(names, hashes) if int(h) in repeated}
  groups = collections.defaultdict(list)
  for name in sorted(alike):
    groups[plain_name(name)].append(name)
  return [group for group in groups.values() if len(group) > 1]
