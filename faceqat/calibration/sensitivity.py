"""Measures the cost of fewer weight bits by layer, and picks bits for them.

The cost is measured where it counts: one layer's weights are rounded, all else
stays float, and the embeddings are compared. (HAWQ, Dong et al. 2019, orders
layers too, but by the curvature of the loss.)
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from faceqat.evaluators import verification
from faceqat.evaluators.predict import make_predict
from faceqat.progress import track
from faceqat.quant import learned_step, numerics
from faceqat.quant.spec import FLOAT, Mode

_BATCH_SIZE = 32
# Of sums of sizes that are told apart: some 50 layers are one byte in ten
# thousand off, and what is kept for each is half a megabyte.
_MAX_STATES = 2**19

# By layer: its folded kernel, [..., O].
Kernels = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class LayerCost:
  """What each number of bits costs for the weights of one layer.

  Attributes:
    name: path of the layer.
    weights: how many it has.
    sizes: bytes of its weights, scales and biases, by bits.
    errors: mean of 1 - cosine between the embeddings without it and with it, by
      bits.
  """

  name: str
  weights: int
  sizes: Mapping[int, int]
  errors: Mapping[int, float]

  @property
  def least(self) -> int:
    return min(self.sizes.values())


def round_kernel(
  kernel: np.ndarray, bits: int, *, per_channel: bool
) -> np.ndarray:
  """Rounds a kernel at the steps of least squared error.

  There a training with learned steps begins. At 2 bits, steps as wide as the
  widest weight would leave most weights 0.

  Args:
    kernel: [..., O] float32, folded.
    bits: 2..8.
    per_channel: one step for each output, or one for all.
  """
  _, upper = numerics.signed_limits(bits, narrow_range=True)
  return np.asarray(_round(kernel, upper, per_channel))


@functools.partial(jax.jit, static_argnums=2)
def _round(kernel, upper, per_channel):
  step = learned_step.least_error_step(kernel, upper, per_channel)
  steps = learned_step.whole_steps(kernel, step, lower=-upper, upper=upper)
  return steps * step


def kernel_setter(
  model: nn.Module, variables: Mapping[str, Any], image: np.ndarray
) -> Callable[[Kernels], Mapping[str, Any]]:
  """A function that gives the variables with other folded kernels.

  Args:
    model: the network.
    variables: of the model.
    image: `[1, H, W, 3] uint8`, of which only the shape counts.
  """
  params = flatten_dict(variables['params'], sep='/')
  layers = model.module_paths(jax.random.key(0), image, FLOAT)
  factors = _fold_factors(model, variables, image)

  def with_kernels(kernels):
    changed = dict(params)
    for name, folded in kernels.items():
      key = f'{name}/kernel'
      factor = factors.get(name, 1.0) * layers[name].output_scale
      # A channel that the batch norm switches off has any kernel.
      dead = np.equal(factor, 0)
      kernel = np.where(dead, params[key], folded / np.where(dead, 1, factor))
      changed[key] = kernel.astype(np.float32)
    return {**variables, 'params': unflatten_dict(changed, sep='/')}

  return with_kernels


def weight_errors(
  model: nn.Module,
  variables: Mapping[str, Any],
  kernels: Mapping[str, Mapping[int, np.ndarray]],
  images: np.ndarray,
) -> dict[str, dict[int, float]]:
  """Rounds the weights of one layer after the other, and nothing else.

  The float network is compiled once and run once for each kernel.

  Args:
    model: the network.
    variables: of the model.
    kernels: by layer and number of bits: the folded kernel [..., O], rounded.
    images: `[N, H, W, 3] uint8`.

  Returns:
    By layer and number of bits: mean of 1 - cosine between the embeddings of
    the float network and of the one with that layer rounded.
  """
  with_kernels = kernel_setter(model, variables, images[:1])
  expected = embed(model, variables, images, FLOAT)

  def error(name, kernel):
    changed = with_kernels({name: kernel})
    cosines = verification.cosine(
      expected, embed(model, changed, images, FLOAT)
    )
    return float(np.mean(1 - cosines))

  return {
    name: {bits: error(name, kernel) for bits, kernel in forms.items()}
    for name, forms in track(
      kernels.items(), 'layer', len(kernels), images=len(images)
    )
  }


def embed(
  model: nn.Module, variables: Mapping[str, Any], images: np.ndarray, mode: Mode
) -> np.ndarray:
  """Embeds `[N, H, W, 3] uint8` as `[N, D] float32`, a batch at a time."""
  predict = make_predict(model, variables, mode)
  size = min(_BATCH_SIZE, len(images))
  embeddings = [
    # The last batch goes on with the first images: one shape, one compile.
    predict(np.take(images, range(start, start + size), 0, mode='wrap'))
    for start in range(0, len(images), size)
  ]
  return np.concatenate(embeddings)[: len(images)]


def choose_bits(costs: Sequence[LayerCost], limit: int) -> dict[str, int]:
  """Chooses the bits of each layer by dynamic programming.

  Args:
    costs: of the layers.
    limit: most bytes that they may have together.

  Returns:
    The bits by layer for which the sum of errors is the least, where sizes are
    rounded up to the `_MAX_STATES`th part of what may be chosen.

  Raises:
    ValueError: the least sizes are more than the limit.
  """
  spare = limit - sum(cost.least for cost in costs)
  if spare < 0:
    raise ValueError(f'no choice of bits has {limit} bytes')
  unit = spare // _MAX_STATES + 1
  states = spare // unit + 1
  # The least sum of errors of the layers so far in so many units.
  best = np.zeros(states)
  picked = []
  for cost in costs:
    options = [
      (bits, -(-(cost.sizes[bits] - cost.least) // unit))
      for bits in sorted(cost.sizes)
    ]
    totals = np.full((len(options), states), np.inf)
    for row, (bits, units) in zip(totals, options):
      row[units:] = best[: max(states - units, 0)] + cost.errors[bits]
    best = totals.min(0)
    picked.append((cost.name, options, totals.argmin(0).astype(np.uint8)))
  chosen, left = {}, states - 1
  for name, options, rows in reversed(picked):
    chosen[name], units = options[rows[left]]
    left -= units
  return {cost.name: chosen[cost.name] for cost in costs}


def _fold_factors(model, variables, image) -> dict[str, np.ndarray]:
  """By layer, what its batch norm multiplies the kernel's channels by."""

  @jax.jit
  def run(variables, image):
    _, seen = model.apply(
      variables,
      image,
      FLOAT,
      capture_intermediates=lambda _, method: method == 'fold',
      mutable=['intermediates'],
    )
    # The compiler leaves out all that these do not need.
    return {
      path: value[0][0]
      for path, value in flatten_dict(seen['intermediates'], sep='/').items()
      if path.endswith('/bn/fold')
    }

  return {
    path.removesuffix('/bn/fold'): np.asarray(factor)
    for path, factor in run(variables, image).items()
  }
