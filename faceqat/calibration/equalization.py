"""Cross-layer equalisation: a tensor's channels are given ranges alike.

A tensor has one scale for all of its channels, so a channel that spans little
beside the widest gets few of its steps. Between two layers with nothing but a
positively homogeneous activation, f(s x) = s f(x), a channel may be stretched:
what the first layer multiplies by, the second divides by (Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction",
section 4.1).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram
from faceqat.quant.spec import FLOAT

# What spans less than this part of the widest channel counts as that much: a
# channel that is dead on these images may live on others.
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

  The float network stays what it is, up to the rounding of float32. One pass
  over the batches measures all ranges: a chain scales nothing but its own
  tensors, and its second layer's weights are compared within each output
  channel, which no other chain changes. So the order of the chains is of no
  matter, and nothing has to be repeated until it settles.

  Args:
    model: the network, and `variables`, what it is called with.
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
    kernel = np.float64(params[f'{chain.second}/kernel'])
    if chain.depthwise:
      factors = channel_factors(span)
      kernel /= factors
    else:
      # Behind a flattening, channels change fastest among the inputs.
      by_channel = kernel.reshape(-1, len(span), kernel.shape[-1])
      factors = channel_factors(span, input_ranges(by_channel))
      kernel = (by_channel / factors[:, None]).reshape(kernel.shape)
    new = {f'{chain.second}/kernel': kernel}
    for path in _outputs(chain.first, params):
      new[path] = np.float64(params[path]) * factors
    for path, value in new.items():
      params[path] = jnp.asarray(value, params[path].dtype)
  return {
    **variables,
    'params': flax.traverse_util.unflatten_dict(params, sep='/'),
    'quant_stats': jax.tree.map(jnp.zeros_like, variables['quant_stats']),
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
  readers = {name: [] for name in program.tensors}
  for operator in program.operators:
    for name in operator.inputs:
      readers[name].append(operator)
  # The embedding is read by whoever runs the program.
  readers[program.output].append(None)
  weighted = [x for x in program.operators if isinstance(x, ops.Weighted)]
  for operator in weighted:
    if operator.name not in layers:
      raise ValueError(
        f'the model has no layer {operator.name}, which the program has; '
        'record the program of this model'
      )
  chains = []
  for first in weighted:
    if layers[first.name].activation not in (None, 'relu'):
      continue
    tensors, following = [first.name], readers[first.name]
    while len(following) == 1 and getattr(following[0], 'HOMOGENEOUS', False):
      if not following[0].SAME_QPARAMS:
        tensors.append(following[0].name)
      following = readers[following[0].output]
    if len(following) != 1 or not isinstance(following[0], ops.Weighted):
      continue
    second = following[0]
    if all(
      layers[name].quant.layer(name).per_channel
      for name in (first.name, second.name)
    ):
      chains.append(
        Chain(
          first.name,
          second.name,
          getattr(second, 'depthwise', False),
          tuple(tensors),
        )
      )
  return chains


def channel_factors(
  span: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
  """What each channel is multiplied by.

  With weights, s = sqrt(span * weights) / weights is what the paper divides by:
  both ranges become their geometric mean. Without, the next
  layer has a scale for each channel and takes any factor at no cost, so all
  spans become equal. Either way the widest span stays as wide.

  Args:
    span: [C], the greatest magnitude of each channel.
    weights: [C], that of what the next layer multiplies it by.

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
  # With nothing alive at all there is nothing to compare, and any value does.
  floor = np.max(ranges) * _LEAST_RELATIVE_RANGE or 1.0
  return np.maximum(ranges, floor)


def _outputs(name: str, params: Mapping[str, Any]) -> list[str]:
  """The parameters whose product or sum makes a layer's output channels."""
  if f'{name}/bn/scale' in params:
    return [f'{name}/bn/scale', f'{name}/bn/bias']
  return [path for path in (f'{name}/kernel', f'{name}/bias') if path in params]
