"""Cross-layer equalisation: gives the channels of a tensor similar ranges.

A tensor has one scale for all of its channels, so a channel that spans little
beside the widest gets few of its steps. Between two layers with nothing but a
positively homogeneous activation, f(s x) = s f(x), the first layer may multiply
a channel and the second divide it again (Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", section 4.1).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.calibration.lower import weighted_operators
from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram
from faceqat.quant.spec import FLOAT

# A channel's range counts as at least this part of the widest: a channel that
# is dead on these images may live on others.
_LEAST_RELATIVE_RANGE = 2.0**-12


class Chain(NamedTuple):
  """Two layers between which the channels may be scaled.

  Attributes:
    first: path of the layer that makes the channels.
    second: path of the only layer that reads them.
    depthwise: whether the second has one kernel per channel.
    tensors: the layers whose outputs lie between, each with its own range.
  """

  first: str
  second: str
  depthwise: bool
  tensors: tuple[str, ...]


def equalize(
  model: nn.Module,
  variables: dict[str, Any],
  program: IntegerProgram,
  batches: Sequence[np.ndarray],
) -> dict[str, Any]:
  """Scales channels between layers so that quantization loses less.

  The float network stays the same, up to float32 rounding. One pass over the
  batches measures all ranges: a chain scales its own tensors alone, and no
  other chain changes how the weights of its second layer compare within an
  output channel. So the order of the chains does not matter, and nothing has to
  be repeated until it settles.

  Args:
    model: the network.
    variables: of the model.
    program: recorded from them; it says which layer reads which.
    batches: uint8 [B, H, W, 3], all of one shape; one at least.

  Returns:
    New variables. The ranges in `quant_stats` were those of other channels and
    are empty: observe them anew, then record the program anew.

  Raises:
    ValueError: there are no batches, or the program is not of this model.
  """
  if not len(batches):
    raise ValueError(
      'equalization got no images; give one batch of faces at least'
    )
  layers = model.module_paths(jax.random.key(0), batches[0][:1], FLOAT)
  chains = find_chains(program, layers)
  names = sorted({name for chain in chains for name in chain.tensors})
  spans = _greatest_magnitudes(model, variables, batches, names)
  params = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  for chain in chains:
    # A PReLU's input and output both have one scale; the wider of them counts,
    # or a channel that it mutes would be stretched without end before it.
    span = np.max([spans[name] for name in chain.tensors], axis=0)
    for path, value in _equalized(chain, span, params).items():
      params[path] = jnp.asarray(value, params[path].dtype)
  return {
    **variables,
    'params': flax.traverse_util.unflatten_dict(params, sep='/'),
    'quant_stats': jax.tree.map(jnp.zeros_like, variables['quant_stats']),
  }


def _equalized(
  chain: Chain, span: np.ndarray, params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The new parameters of a chain whose channels span so much, float64."""
  if chain.depthwise:
    return scaled(chain, channel_factors(span), params)
  kernel = np.float64(params[f'{chain.second}/kernel'])
  # Behind a flattening, channels change fastest among the inputs.
  by_channel = kernel.reshape(-1, len(span), kernel.shape[-1])
  factors = channel_factors(span, input_ranges(by_channel))
  return scaled(chain, factors, params)


def scaled(
  chain: Chain, factors: np.ndarray, params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The parameters of a chain whose channels are multiplied by [C] factors.

  Args:
    chain: two layers of `params`.
    factors: [C] float64: the first layer's outputs times them, the second's
      inputs divided by them.
    params: arrays by path.

  Returns:
    Those that change, float64.
  """
  return {
    **divided_inputs(chain.second, chain.depthwise, factors, params),
    **scaled_outputs(chain.first, factors, params),
  }


def divided_inputs(
  name: str, depthwise: bool, factors: np.ndarray, params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The kernel of a layer whose input channels are divided by [C] factors."""
  path = f'{name}/kernel'
  kernel = np.float64(params[path])
  if depthwise:
    return {path: kernel / factors}
  # Behind a flattening, channels change fastest among the inputs.
  by_channel = kernel.reshape(-1, len(factors), kernel.shape[-1])
  return {path: (by_channel / factors[:, None]).reshape(kernel.shape)}


def scaled_outputs(
  name: str, factors: np.ndarray, params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The parameters of a layer whose outputs are multiplied by [C] factors."""
  return {
    path: np.float64(params[path]) * factors for path in _outputs(name, params)
  }


def find_chains(
  program: IntegerProgram, layers: Mapping[str, nn.Module]
) -> list[Chain]:
  """The pairs of layers that can be equalised, in the order they run.

  A pair is left out where its channels go elsewhere too, where an activation
  clips them at a fixed number (ReLU6), or where a layer has one weight scale
  for all channels.

  Args:
    program: the network's operators.
    layers: its convolutions and dense layers by path. The program itself does
      not tell a ReLU6 from a ReLU whose range ends below 6.

  Raises:
    ValueError: a layer of the program is not among them.
  """
  weighted = weighted_operators(program)
  for operator in weighted:
    if operator.name not in layers:
      raise ValueError(
        f'the model has no layer {operator.name}, which the program has; '
        'record the program of this model'
      )
  readers = {name: [] for name in program.tensors}
  for operator in program.operators:
    for name in operator.inputs:
      readers[name].append(operator)
  # The embedding has a reader outside the program.
  readers[program.output].append(None)
  chains = (
    _chain_from(operator.name, readers)
    for operator in weighted
    if layers[operator.name].activation in (None, 'relu')
  )
  return [
    chain
    for chain in chains
    if chain
    and all(
      layers[name].quant.layer(name).per_channel
      for name in (chain.first, chain.second)
    )
  ]


def _chain_from(first: str, readers: Mapping[str, list]) -> Chain | None:
  """The chain that begins with a layer, if a single layer reads it."""
  tensors, following = [first], readers[first]
  while len(following) == 1:
    (operator,) = following
    if isinstance(operator, ops.Weighted):
      depthwise = getattr(operator, 'depthwise', False)
      return Chain(first, operator.name, depthwise, tuple(tensors))
    if not getattr(operator, 'HOMOGENEOUS', False):
      return None
    if not operator.SAME_QPARAMS:
      tensors.append(operator.name)
    following = readers[operator.output]
  return None


def channel_factors(
  span: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
  """The factor of each channel; the widest span stays as wide.

  With weights, the paper divides by s = sqrt(span * weights) / weights: both
  ranges become their geometric mean. Without, the next layer has a scale for
  each channel and takes any factor at no cost, so all spans become equal.

  Args:
    span: [C], the greatest magnitude of each channel.
    weights: [C], the greatest magnitude of the next layer's weights for it.

  Returns:
    float64 [C], positive.
  """
  span = _alive(span)
  factors = 1 / span if weights is None else np.sqrt(_alive(weights) / span)
  return factors * (np.max(span) / np.max(span * factors))


def input_ranges(kernel: np.ndarray) -> np.ndarray:
  """The greatest magnitude [C] among the weights of each input channel.

  It is in units of the largest weight of the same output channel, as that
  one's scale is.

  Args:
    kernel: [N, C, O]: N positions, C input and O output channels.
  """
  magnitudes = np.abs(kernel)
  largest = np.maximum(magnitudes.max((0, 1)), np.finfo(np.float64).tiny)
  return (magnitudes / largest).max((0, 2))


def _greatest_magnitudes(model, variables, batches, names):
  """The greatest magnitude of each channel of the layers' float outputs."""

  # Reduced while it runs: no activation outlives its batch.
  @jax.jit
  def measure(variables, images):
    _, collected = model.apply(
      variables, images, FLOAT, mutable=['intermediates']
    )
    outputs = flax.traverse_util.flatten_dict(
      collected['intermediates'], sep='/'
    )
    spans = {}
    for name in names:
      (y,) = outputs[f'{name}/output']
      spans[name] = jnp.max(jnp.abs(y), tuple(range(y.ndim - 1)))
    return spans

  rows = [measure(variables, images) for images in batches]
  return {
    name: np.max([np.float64(row[name]) for row in rows], axis=0)
    for name in names
  }


def _alive(ranges):
  # Where no channel is alive any value will do.
  floor = np.max(ranges) * _LEAST_RELATIVE_RANGE or 1.0
  return np.maximum(ranges, floor)


def _outputs(name: str, params: Mapping[str, Any]) -> list[str]:
  """The parameters whose product or sum makes a layer's output channels."""
  if f'{name}/bn/scale' in params:
    return [f'{name}/bn/scale', f'{name}/bn/bias']
  return [path for path in (f'{name}/kernel', f'{name}/bias') if path in params]
