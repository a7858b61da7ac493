"""Several training sets as one source."""

import bisect
import collections
import os
from collections.abc import Sequence

import numpy as np

from faceqat.data.places import is_pack
from faceqat.data.sources import tfds
from faceqat.data.sources.labelled import View
from faceqat.faces.made import are_made

SAME_NAMES = ('apart', 'merged')


class JoinedSource(View):
  """The images of several labelled sources, one source after the other.

  Attributes:
    labels: int32 [N], 0 .. K-1 in the order in which people come first.
    class_names: the K names of people. A name that several sets have is
      `set/name` where they are kept apart.
    sets: for each source its name and its numbers of images and people.
    starts: the index of the first image of each source.
    shared: the names that several sets have, sorted.
    ignored: of all sources, as `set/file`.
    made: bool [N], which images were made of others.
  """

  def __init__(self, sources: Sequence, names: Sequence[str], same_names: str):
    """Numbers the people anew; no image is read.

    Args:
      sources: at least two, of one image size.
      names: of the sets, all different.
      same_names: one of `SAME_NAMES`: whether people of several sets who have
        one name are different people, or one.
    """
    self._sources = list(sources)
    sizes = [len(source) for source in sources]
    self.starts = [0, *np.cumsum(sizes[:-1]).tolist()]
    counts = collections.Counter(
      person for source in sources for person in {*source.class_names}
    )
    self.shared = sorted(name for name, count in counts.items() if count > 1)
    merges = same_names == 'merged'
    self.class_names: list[str] = []
    label_of: dict[str, int] = {}
    labels = []
    for set_name, source in zip(names, sources):
      new_labels = []
      for person in source.class_names:
        label = label_of.get(person) if merges else None
        if label is None:
          label = label_of[person] = len(self.class_names)
          apart = counts[person] > 1 and not merges
          self.class_names.append(f'{set_name}/{person}' if apart else person)
        new_labels.append(label)
      labels.append(np.array(new_labels, np.int32)[np.asarray(source.labels)])
    self.labels = np.concatenate(labels)
    self.sets = [
      (name, len(source), len(source.class_names))
      for name, source in zip(names, sources)
    ]
    self.ignored = [
      f'{set_name}/{name}'
      for set_name, source in zip(names, sources)
      for name in getattr(source, 'ignored', [])
    ]
    self.made = np.concatenate([are_made(source) for source in sources])

  def version(self) -> str:
    return ' and '.join(source.version() for source in self._sources)

  def _find(self, index: int):
    number = bisect.bisect_right(self.starts, index) - 1
    return self._sources[number], int(index) - self.starts[number]


def set_names(paths: Sequence[str]) -> list[str]:
  """Short names for sets: the shortest ends of their paths that differ.

  Args:
    paths: of folders, packs, or `tfds:NAME`; all different.
  """
  parts = []
  for path in paths:
    whole = path if path.startswith(tfds.PREFIX) else os.path.abspath(path)
    whole = os.path.splitext(whole)[0] if is_pack(whole) else whole
    parts.append(whole.strip('/').split('/'))
  for count in range(1, max(map(len, parts)) + 1):
    names = ['/'.join(part[-count:]) for part in parts]
    if len(set(names)) == len(names):
      return names
  # They differ in their suffixes alone.
  return list(paths)
