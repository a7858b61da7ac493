"""Cuts the inner channels of a pretrained network, the least important first.

Inner channels are those that only one convolution makes and only one reads,
with a depthwise convolution between them: of the inverted residuals, and of the
last convolution before the embedding. The sums of the residual path keep all of
theirs.

Channel c adds y_c w_c to the outputs that read it, with the activation y_c and
the row w_c of the kernel. Its mean moves into the batch norm that follows, so
what is lost is Var(y_c) |w_c|^2, where w_c is divided by the deviations of that
batch norm: the criterion. y_c is taken for the activation of a normal variable
with the moments that the batch norm before it gives its outputs.
"""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np

from faceqat.models.weights.assign import EPSILON

# Of a chain that does not lie inside of a block: before, depthwise, after.
_ENDS = ('last', 'global_depthwise', 'embedding')


def prune(
  values: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Leaves as many inner channels as a narrower model has, in their order.

  Args:
    values: float arrays by path, such as 'block_0/expand/kernel', as
      `assign.assign` takes them; batch norms follow all convolutions.
    variables: of the narrower model.

  Returns:
    New values; those of other layers are the same arrays.
  """
  values = dict(values)
  shapes = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  for path, leaf in shapes.items():
    depthwise = path.removesuffix('/kernel')
    chain = _chain(depthwise)
    # `assign` lists what a network without these lacks.
    if path == depthwise or any(f'{x}/bn/scale' not in values for x in chain):
      continue
    if leaf.shape[-1] < values[path].shape[-1]:
      _cut(values, *chain, leaf.shape[-1])
  return values


def _chain(depthwise: str) -> tuple[str, str, str]:
  """The three convolutions of which a depthwise one is the second."""
  if depthwise == _ENDS[1]:
    return _ENDS
  block = depthwise.removesuffix('/depthwise')
  return f'{block}/expand', depthwise, f'{block}/project'


def _cut(values: dict, before: str, depthwise: str, after: str, wanted: int):
  mean, var = _moments(values, depthwise)
  kernel = values[f'{after}/kernel']
  rows = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
  gain = values[f'{after}/bn/scale'] / np.sqrt(
    values[f'{after}/bn/var'] + EPSILON
  )
  lost = var * np.sum(np.square(rows * gain), axis=1)
  # Of equals, the first stay: the same on every processor.
  kept = np.sort(np.argsort(-lost, kind='stable')[:wanted])
  others = np.setdiff1d(np.arange(len(lost)), kept)
  norm = f'{after}/bn/mean'
  moved = values[norm] - mean[others] @ rows[others]
  values[norm] = moved.astype(np.float32)
  values[f'{after}/kernel'] = kernel[..., kept, :]
  for layer in (before, depthwise):
    for path in [path for path in values if _is_of(path, layer)]:
      values[path] = values[path][..., kept]


def _is_of(path: str, layer: str) -> bool:
  """Whether an array is the layer's, or its PReLU's."""
  return path.startswith((f'{layer}/', f'{layer}_prelu/'))


def _moments(
  values: Mapping[str, np.ndarray], layer: str
) -> tuple[np.ndarray, np.ndarray]:
  """Mean and variance [C] of a layer's activations.

  With z of mean m and deviation s, E relu(z) = m P(m/s) + s p(m/s) and
  E relu(z)^2 = (m^2 + s^2) P(m/s) + m s p(m/s), where p and P are the density
  and the distribution of the normal variable; PReLU(z) = a z + (1 - a) relu(z).
  """
  # Here, as it takes half a second.
  from scipy import stats

  m = np.float64(values[f'{layer}/bn/bias'])
  var = np.float64(values[f'{layer}/bn/var'])
  gamma = np.float64(values[f'{layer}/bn/scale'])
  s = np.abs(gamma) * np.sqrt(var / (var + EPSILON))
  if f'{layer}_prelu/alpha' not in values:
    return m, s**2
  a = np.float64(values[f'{layer}_prelu/alpha'])
  # Beyond 40 deviations the distribution is 0 or 1.
  ratio = np.clip(m / np.maximum(s, 1e-30), -40, 40)
  below, density = stats.norm.cdf(ratio), stats.norm.pdf(ratio)
  first = a * m + (1 - a) * (m * below + s * density)
  square = (m**2 + s**2) * below + m * s * density
  second = a**2 * (m**2 + s**2) + (1 - a**2) * square
  return first, np.maximum(second - first**2, 0)
