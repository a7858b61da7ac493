"""Block reconstruction: weights learn how to be rounded, part by part.

Rounding each weight to the nearest step is not what changes a layer's output
least, as the errors of its weights add up (Nagel et al. 2020, "Up or Down?
Adaptive Rounding for Post-Training Quantization"). So one part of a network
after another is trained to give the output of its float form, on images without
labels, with all parts before it quantized already (BRECQ, Li et al. 2021).

Unlike there, the rounding is learnt straight through fake quantization: a
weight moves by some tenths of a step, which is enough to be rounded the other
way. On a linear layer that is as good with 100 steps as sigmoids with a
regulariser are with many more, and the integers are those of the nearest
rounding of the new weights, for every reader of a network. The scales of
weights stay.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax

from faceqat.calibration.lower import lower, real_weights, weighted_operators
from faceqat.models.network import Network
from faceqat.progress import track
from faceqat.quant.layers import input_image
from faceqat.quant.quantizers import OutputQuantizer
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode

_ADAM = optax.scale_by_adam()
# How far parameters may move in all steps together: weights in steps of their
# channel, biases in parts of their layer's range, learned steps of activations
# in parts of themselves. The rate falls to 0 as a cosine.
_REACH = {'kernel': 0.4, 'bias': 0.02, 'step': 0.1}


class Part(nn.Module):
  """Some layers of a network, one after another, under their own names.

  So a part's variables are a part of the network's.

  Attributes:
    names: of the layers.
    makers: `clone` of each; Flax would rename the layers themselves.
  """

  names: tuple[str, ...]
  makers: tuple[Callable[..., nn.Module], ...]

  @nn.compact
  def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
    for make in self.makers:
      x = make(parent=self)(x, mode)
    return x


class _Features(NamedTuple):
  """What goes into a part and what should come out, [N, ...] each.

  Attributes:
    floats: the input in the float network.
    quantized: the input behind the quantized parts.
    target: the output in the float network.
  """

  floats: np.ndarray
  quantized: np.ndarray
  target: np.ndarray


def reconstruct(
  network: Network, batches: Sequence[np.ndarray], *, steps: int
) -> dict[str, Any]:
  """Learns weights, biases and steps of activations, part by part.

  A part that it does not bring nearer to float stays as it is. In float, the
  result is no longer the network that was given.

  Args:
    network: whose ranges and first steps are set.
    batches: uint8 [B, H, W, 3], all of one shape; one at least. A part sees B
      images at a time, in random order.
    steps: of the optimiser, for each part.

  Returns:
    New variables, in which kernels, biases and the learned steps of
    activations differ.

  Raises:
    ValueError: there are no images, or the network is no chain of parts.
  """
  if not len(batches):
    raise ValueError(
      'reconstruction got no images; give one batch of faces at least'
    )
  batch_size = len(batches[0])
  widths = _steps_of_weights(network)
  before = after = jax.tree.map(np.asarray, network.variables)
  parts = find_parts(network.model, before, batches[0][:1])
  pixels = np.asarray(input_image(jnp.asarray(np.concatenate(batches))))
  floats = quantized = pixels
  for part in track(parts, 'reconstructing', len(parts)):
    own = _own(before, part)
    target = _outputs(part, own, floats, FLOAT, batch_size)
    features = _Features(floats, quantized, target)
    learnt = _learn(part, own, features, widths, steps, batch_size)
    kept, quantized = min(
      (
        (tried, _outputs(part, tried, quantized, FAKE_QUANT, batch_size))
        for tried in (own, learnt)
      ),
      key=lambda result: np.mean(np.square(result[1] - target)),
    )
    after = {**after, 'params': {**after['params'], **kept['params']}}
    floats = target
  return after


def find_parts(
  model: nn.Module, variables: Mapping[str, Any], images: np.ndarray
) -> list[Part]:
  """The parts of a network, in the order they run; nothing is computed.

  A part has one layer, or block of layers, with weights.

  Args:
    model: whose layers follow each other.
    variables: of the model.
    images: uint8 [B, H, W, 3], for their shape alone.

  Raises:
    ValueError: a layer reads something else than the output of the layer
      before it; names the layer.
  """
  layers, outputs = [], []

  def note(method, args, kwargs, context):
    y = method(*args, **kwargs)
    layer = context.module
    if context.method_name == '__call__' and len(layer.path) == 1:
      if outputs and args[0] is not outputs[-1]:
        raise ValueError(
          f'layer {layer.name} does not read the output of '
          f'{layers[-1].name}, which runs before it; reconstruction takes '
          'networks whose layers and blocks form a chain: set '
          'quant.reconstruction_steps to 0 for this one'
        )
      layers.append(layer.clone())
      outputs.append(y)
    return y

  with nn.intercept_methods(note):
    jax.eval_shape(lambda v, x: model.apply(v, x, FLOAT), variables, images)
  weights = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  weighted = {path.split('/')[0] for path in weights if path.endswith('kernel')}
  groups = [[]]
  for layer in layers:
    full = any(before.name in weighted for before in groups[-1])
    if full and layer.name in weighted:
      groups.append([])
    groups[-1].append(layer)
  return [
    Part(
      tuple(layer.name for layer in group),
      tuple(layer.clone for layer in group),
    )
    for group in groups
  ]


def _own(variables: Mapping[str, Any], part: Part) -> dict[str, Any]:
  """The variables of a part."""
  return {
    collection: {name: tree[name] for name in part.names if name in tree}
    for collection, tree in variables.items()
  }


@functools.partial(jax.jit, static_argnames=('part', 'mode'))
def _apply(variables, x, *, part, mode):
  return part.apply(variables, x, mode)


def _outputs(part, variables, inputs, mode, batch_size) -> np.ndarray:
  """What a part computes of all inputs, some at a time."""
  return np.concatenate(
    [
      _apply(variables, inputs[i : i + batch_size], part=part, mode=mode)
      for i in range(0, len(inputs), batch_size)
    ]
  )


def _steps_of_weights(network: Network) -> dict[str, np.ndarray]:
  """A step of each channel [O] by its kernel's path, in units of the kernel.

  Norms are folded into a kernel before it is quantized.
  """
  reals, found = real_weights(network), {}
  params = flax.traverse_util.flatten_dict(network.variables['params'], sep='/')
  for operator in weighted_operators(lower(network)):
    path = f'{operator.name}/kernel'
    own, folded = (
      np.abs(np.float64(kernel)).sum(tuple(range(kernel.ndim - 1)))
      for kernel in (params[path], reals[operator.name]['kernel'])
    )
    # A channel that a norm has switched off stays as it is.
    factor = np.where(folded == 0, 0, own / np.where(folded == 0, 1, folded))
    found[path] = np.float32(operator.weight_scale * factor)
  return found


def _learn(
  part: Part,
  own: Mapping[str, Any],
  features: _Features,
  widths: Mapping[str, np.ndarray],
  steps: int,
  batch_size: int,
) -> dict[str, Any]:
  """The variables that make a quantized part most like the float one.

  Args:
    part: of the network.
    own: its variables, of the float network.
    features: of all images.
    widths: as of `_steps_of_weights`.
    steps: of the optimiser.
    batch_size: images in each.
  """
  learnt, reach, limits = {}, {}, {}
  ranges = flax.traverse_util.flatten_dict(own['quant_stats'], sep='/')
  params = flax.traverse_util.flatten_dict(own['params'], sep='/')
  for path, x in params.items():
    kind = path.rsplit('/', 1)[1]
    if kind not in _REACH:
      continue
    layer = path.removesuffix('/bias').removesuffix('/bn')
    unit, limits[path] = np.abs(x), np.float32(np.inf)
    if kind == 'bias':
      span = ranges[f'{layer}/quantizer/range']
      unit = span.maximum - span.minimum
    elif kind == 'kernel':
      # A scale may come from the widest weight, which stays so.
      limits[path] = np.max(np.abs(x), tuple(range(x.ndim - 1)))
      unit = np.where(np.abs(x) < limits[path], widths[path], 0)
    learnt[path], reach[path] = x, np.float32(_REACH[kind] * unit)
  moments = _ADAM.init(learnt)
  # Adam takes gradients of every size but the smallest.
  scale = 1 / max(np.mean(np.square(features.target)), 1e-30)
  rng, key = np.random.default_rng(0), jax.random.key(0)
  for step in range(steps):
    chosen = rng.choice(len(features.target), batch_size, replace=False)
    rate = np.float32((1 + np.cos(np.pi * step / steps)) / steps)
    learnt, moments = _step(
      learnt,
      moments,
      own,
      _Features(*(array[chosen] for array in features)),
      jax.random.fold_in(key, step),
      rate,
      reach,
      limits,
      scale,
      part=part,
    )
  return _with(own, jax.tree.map(np.asarray, learnt))


def _with(own, learnt):
  """The variables of a part with some parameters, by path, replaced."""
  flat = flax.traverse_util.flatten_dict(own['params'], sep='/')
  tree = flax.traverse_util.unflatten_dict({**flat, **learnt}, sep='/')
  return {**own, 'params': tree}


@functools.partial(
  jax.jit, static_argnames='part', donate_argnames=('learnt', 'moments')
)
def _step(
  learnt, moments, own, features, key, rate, reach, limits, scale, *, part
):
  """One step of Adam on a batch."""
  own_key, key = jax.random.split(key)
  x = _half(features.floats, features.quantized, own_key)

  def error(learnt):
    y = _partly_quantized(part, _with(own, learnt), x, key)
    return scale * jnp.mean(jnp.square(y - features.target))

  updates, moments = _ADAM.update(jax.grad(error)(learnt), moments)
  learnt = jax.tree.map(
    lambda x, update, reach, limit: jnp.clip(
      x - rate * reach * update, -limit, limit
    ),
    learnt,
    updates,
    reach,
    limits,
  )
  return learnt, moments


def _partly_quantized(part, variables, x, key):
  """A part's output, with half of the elements of each tensor in float.

  QDrop, Wei et al. 2022: what is learnt then depends less on the images.
  """
  count = itertools.count()

  def drop(method, args, kwargs, context):
    y = method(*args, **kwargs)
    is_quantizer = isinstance(context.module, OutputQuantizer)
    if is_quantizer and context.method_name == '__call__':
      y = _half(args[0], y, jax.random.fold_in(key, next(count)))
    return y

  with nn.intercept_methods(drop):
    return part.apply(variables, x, FAKE_QUANT)


def _half(floats, quantized, key):
  """Half of the elements of one array [B, ...], and the others of the other.

  It is the same half in all examples, as random numbers take long on a CPU.
  """
  drawn = jax.random.bernoulli(key, shape=quantized.shape[1:])
  return jnp.where(drawn, floats, quantized)
