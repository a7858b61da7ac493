"""Puts imported arrays in the place of a model's own, or lists differences."""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np

_COLLECTIONS = ('params', 'batch_stats')
# Learned quantization steps are derived from the weights.
_STEPS = ('step', 'kernel_step')
# A file of another network differs in hundreds of paths.
_LISTED = 12


def assign(
  variables: Mapping[str, Any],
  values: Mapping[str, np.ndarray],
  source: str = 'the weight file',
) -> dict[str, Any]:
  """Replaces every parameter and moving statistic of a model.

  Args:
    variables: of `model.init`. Collections other than `params` and
      `batch_stats` stay as they are, and so do learned quantization steps.
    values: the new array of each path, such as 'block_0/expand/kernel' or
      'block_0/expand/bn/mean', in the shape that it has in `variables`.
    source: the file, for messages.

  Returns:
    New variables; float32 where the model has float32.

  Raises:
    ValueError: lists the paths that only one side has, those whose shapes
      differ, and those whose values are not finite.
  """
  trees = {
    name: flax.traverse_util.flatten_dict(variables[name], sep='/')
    for name in _COLLECTIONS
    if name in variables
  }
  wanted = {
    path: leaf for tree in trees.values() for path, leaf in tree.items()
  }
  _check(without_steps(wanted), values, source)
  new = {
    name: flax.traverse_util.unflatten_dict(
      {
        # JAX would compile a conversion for each shape.
        path: jax.device_put(np.asarray(values.get(path, leaf), leaf.dtype))
        for path, leaf in tree.items()
      },
      sep='/',
    )
    for name, tree in trees.items()
  }
  return {**variables, **new}


def without_steps(values: Mapping[str, Any]) -> dict[str, Any]:
  """The arrays by path that are not learned quantization steps."""
  return {
    path: value
    for path, value in values.items()
    if path.rpartition('/')[2] not in _STEPS
  }


# All batch norms of a model that weights are read into have it.
EPSILON = 1e-3


def at_epsilon(
  gamma: np.ndarray, var: np.ndarray, epsilon: float, wanted: float
) -> np.ndarray:
  """The gamma with which another epsilon gives the same batch norm.

  A batch norm multiplies by `gamma / sqrt(var + epsilon)`.

  Args:
    gamma: [C], of the file.
    var: [C], the moving variance.
    epsilon: of the file's network.
    wanted: of the model.

  Returns:
    [C] float64; `gamma` itself where both epsilons are the same.
  """
  var = np.float64(var)
  return np.float64(gamma) * np.sqrt((var + wanted) / (var + epsilon))


def listed(items: Iterable[str]) -> str:
  """The items in order, for messages; of many, the first ones and a count.

  >>> listed(['b', 'a'])
  'a, b'
  """
  items = sorted(items)
  more = len(items) - _LISTED
  text = ', '.join(items[:_LISTED]) or 'none'
  return f'{text} and {more} more' if more > 0 else text


def _check(wanted: Mapping, values: Mapping, source: str):
  differ = []
  for path in sorted(wanted.keys() & values.keys()):
    got, want = np.shape(values[path]), tuple(wanted[path].shape)
    if got != want:
      differ.append(f'{path} (file {list(got)}, model {list(want)})')
  damaged = [
    path for path in sorted(values) if not np.isfinite(values[path]).all()
  ]
  faults = [
    f'{title} {listed(paths)}'
    for title, paths in (
      ('it lacks', _with_shape(wanted, values)),
      ('the model lacks', _with_shape(values, wanted)),
      ('the shapes differ of', differ),
      ('not finite are', damaged),
    )
    if paths
  ]
  if faults:
    raise ValueError(
      f'{source} does not fit the model: {"; ".join(faults)}. Give the weights '
      'of this network, or set the fields of model and data.image_size to the '
      "file's"
    )


def _with_shape(these: Mapping, others: Mapping) -> list[str]:
  return [
    f'{path} {list(np.shape(these[path]))}'
    for path in sorted(these.keys() - others.keys())
  ]
