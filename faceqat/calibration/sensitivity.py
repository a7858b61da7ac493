"""Measures the cost of fewer weight bits by layer, and picks layers for them.

The cost is measured where it counts: one layer's weights are rounded, all else
stays float, and the embeddings are compared. (HAWQ, Dong et al. 2019, orders
layers too, but by the curvature of the loss.)
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from faceqat.evaluators import verification
from faceqat.evaluators.predict import make_predict
from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram
from faceqat.progress import track
from faceqat.quant.spec import FLOAT, Mode

_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class LayerCost:
  """The gain and loss of fewer bits for the weights of one layer.

  Attributes:
    name: path of the layer.
    weights: how many it has.
    saved: bytes by which the program's file shrinks, over 0.
    error: mean of 1 - cosine between the embeddings without it and with it.
  """

  name: str
  weights: int
  saved: int
  error: float


def weight_errors(
  model: nn.Module,
  variables: Mapping[str, Any],
  program: IntegerProgram,
  images: np.ndarray,
  names: Collection[str],
) -> dict[str, float]:
  """Rounds the weights of one layer after the other, and nothing else.

  The float network is compiled once and run once for each layer.

  Args:
    model: the network.
    variables: of the model.
    program: lowered from them, the layers in question with fewer bits.
    images: `[N, H, W, 3] uint8`.
    names: of layers of the program with weights.

  Returns:
    By layer, in the order of the program: mean of 1 - cosine between the
    embeddings of the float network and of the one with that layer rounded.
  """
  params = flatten_dict(variables['params'], sep='/')
  layers = model.module_paths(jax.random.key(0), images[:1], FLOAT)
  factors = _fold_factors(model, variables, images[:1])
  expected = embed(model, variables, images, FLOAT)
  errors = {}
  wanted = [each for each in program.operators if each.name in names]
  for operator in track(wanted, 'layer', len(wanted), images=len(images)):
    key = f'{operator.name}/kernel'
    factor = (
      factors.get(operator.name, 1.0) * layers[operator.name].output_scale
    )
    rounded = _unfold(operator, params[key], factor)
    changed = unflatten_dict({**params, key: rounded}, sep='/')
    embeddings = embed(model, {**variables, 'params': changed}, images, FLOAT)
    cosines = verification.cosine(expected, embeddings)
    errors[operator.name] = float(np.mean(1 - cosines))
  return errors


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


def lowering_order(costs: Iterable[LayerCost]) -> list[LayerCost]:
  """By error per byte saved; of equals, the one that saves more comes first."""
  return sorted(costs, key=lambda cost: (cost.error / cost.saved, -cost.saved))


def choose_layers(
  costs: Iterable[LayerCost],
  size: Callable[[frozenset[str]], int],
  budget: int,
) -> frozenset[str]:
  """Chooses the layers that get fewer bits.

  They are taken in `lowering_order` until the budget is met. The last may save
  far more than was missing, so those are then let off again, the largest error
  first, without which it is still met.

  Args:
    costs: of the layers that may get fewer bits.
    size: from the names of those that do to the bytes of the file.
    budget: most bytes allowed.

  Returns:
    Their names: all, where even that is too large.
  """
  costs = lowering_order(costs)
  chosen: list[LayerCost] = []
  names = frozenset()
  for cost in costs:
    if size(names) <= budget:
      break
    chosen.append(cost)
    names |= {cost.name}
  for cost in sorted(chosen, key=lambda cost: -cost.error):
    without = names - {cost.name}
    if size(without) <= budget:
      names = without
  return names


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


def _unfold(operator: ops.Weighted, kernel, factor) -> np.ndarray:
  """The float kernel that folds to what the operator's integers stand for."""
  folded = operator.weights * operator.weight_scale
  # A channel that the batch norm switches off has any kernel.
  dead = np.equal(factor, 0)
  return np.where(dead, kernel, folded / np.where(dead, 1, factor)).astype(
    np.float32
  )
