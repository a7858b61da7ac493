"""The scores of an evaluation as a file, to compare runs without running them.

A safetensors file: `cosine/<precision>` float64 [P] for each, and of the
pairs `same`, `fold`, `images` and, where it is known, `people`.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.files import array_file, atomic, strict_json

FILE_NAME = 'scores.safetensors'
_PRECISION = 'cosine/'
# Of a pair: its type, and how many numbers it has.
_COLUMNS = {
  'same': (np.bool_, ()),
  'fold': (np.int64, ()),
  'images': (np.int64, (2,)),
  'people': (np.int64, (2,)),
}


@dataclasses.dataclass(frozen=True)
class Scores:
  """The scores of P pairs by each precision of one network.

  Attributes:
    pairs: name of the benchmark.
    cosines: float64 [P] by precision.
    same: bool [P], whether both images show the same person.
    fold: int64 [P], the part of a cross-validation.
    images: int64 [P, 2], the numbers of the two images in the pair set.
    people: int64 [P, 2], a number for each person shown; None if not known.
  """

  pairs: str
  cosines: Mapping[str, np.ndarray]
  same: np.ndarray
  fold: np.ndarray
  images: np.ndarray
  people: np.ndarray | None


def of_pairs(pair_set: PairSet, cosines: Mapping[str, np.ndarray]) -> Scores:
  """The cosines, float64 [P] by precision, together with their pairs."""
  return Scores(
    pairs=pair_set.name,
    cosines=cosines,
    same=np.asarray(pair_set.same, bool),
    fold=np.asarray(pair_set.fold, np.int64),
    images=np.stack([pair_set.first, pair_set.second], axis=1).astype(np.int64),
    people=pair_set.people,
  )


def save(scores: Scores, folder: str | os.PathLike):
  """Writes `scores.safetensors` to a folder that exists."""
  arrays = {
    f'{_PRECISION}{precision}': np.asarray(cosines, np.float64)
    for precision, cosines in scores.cosines.items()
  }
  for name in _COLUMNS:
    column = getattr(scores, name)
    if column is not None:
      arrays[name] = np.ascontiguousarray(column)
  content = safetensors.numpy.save(arrays, metadata={'pairs': scores.pairs})
  atomic.write(pathlib.Path(folder) / FILE_NAME, content)


def read_arrays(
  path: pathlib.Path,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Arrays and texts of a safetensors file that an evaluation wrote.

  Raises:
    ValueError: it is damaged.
  """
  try:
    return array_file.read_arrays(path)
  except ValueError as error:
    raise ValueError(
      f'{path} is damaged ({error}); evaluate that run again'
    ) from error


def read_json(path: pathlib.Path, check: Callable[[dict], Any]) -> Any:
  """Reads a file of one object; None where there is none.

  Args:
    path: of the file.
    check: of `files.json_fields`; its result, if it has one, is returned.

  Raises:
    ValueError: the file is damaged, or a field is wrong.
  """
  if not path.is_file():
    return None
  try:
    fields = strict_json.parse(path.read_bytes(), dict)
    checked = check(fields)
  except ValueError as error:
    raise ValueError(
      f'{path} is damaged ({error}); take it away and write it again'
    ) from error
  return fields if checked is None else checked


def load(folder: str | os.PathLike) -> Scores:
  """Reads what `save` wrote.

  Raises:
    ValueError: there is no such file, or it is damaged or of another form.
  """
  path = pathlib.Path(folder) / FILE_NAME
  if not path.is_file():
    raise ValueError(
      f'{folder} has no {FILE_NAME}; evaluate that run once: '
      'python -m faceqat.evaluate --model=RUN'
    )
  arrays, metadata = read_arrays(path)
  cosines = {
    name.removeprefix(_PRECISION): values
    for name, values in arrays.items()
    if name.startswith(_PRECISION)
  }
  wanted = {
    f'{_PRECISION}{precision}': (np.float64, ()) for precision in cosines
  }
  wanted.update(_COLUMNS)
  count = len(np.atleast_1d(arrays.get('same', ())))
  for name, (dtype, shape) in wanted.items():
    found = arrays.get(name)
    if found is None and name == 'people':
      continue
    if found is None or (found.dtype, found.shape) != (dtype, (count, *shape)):
      described = 'absent' if found is None else f'{found.dtype}{found.shape}'
      raise ValueError(
        f'{path}: {name} is {described}, wanted '
        f'{np.dtype(dtype)}{(count, *shape)}; evaluate that run again'
      )
  if 'pairs' not in metadata or not cosines:
    raise ValueError(
      f'{path} does not say of which pairs or precisions it is; evaluate that '
      'run again'
    )
  columns = {name: arrays.get(name) for name in _COLUMNS}
  return Scores(metadata['pairs'], cosines, **columns)
