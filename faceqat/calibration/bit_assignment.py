"""Chooses the layers whose weights get fewer bits, to fit a size of file."""

import dataclasses
import glob
from collections.abc import Collection, Mapping
from typing import Any

import ml_collections
import numpy as np

from faceqat import progress
from faceqat.calibration import sensitivity
from faceqat.calibration.lower import (
  lower,
  weighted_operators,
  with_weight_bits,
)
from faceqat.calibration.sensitivity import LayerCost
from faceqat.evaluators import verification
from faceqat.integer import program as integer_program
from faceqat.integer.program import IntegerProgram
from faceqat.models.network import Network
from faceqat.quant.spec import FAKE_QUANT, FLOAT


@dataclasses.dataclass(frozen=True)
class Assignment:
  """The layers that get fewer weight bits, and the program before and after.

  Attributes:
    costs: of the layers that could, in the order in which they would.
    lowered: names of those that do.
    bits: theirs.
    overrides: the config's `quant.overrides` with them.
    bytes_before, bytes_after: of the program file.
    cosines_before, cosines_after: [N] float64, between the float embeddings and
      the fake-quantized ones.
  """

  costs: list[LayerCost]
  lowered: frozenset[str]
  bits: int
  overrides: dict[str, dict[str, Any]]
  bytes_before: int
  bytes_after: int
  cosines_before: np.ndarray
  cosines_after: np.ndarray


def assign_bits(
  network: Network, images: np.ndarray, *, budget: int, bits: int
) -> Assignment:
  """Lowers the weight bits of layers until the program's file fits a budget.

  Args:
    network: calibrated, or trained with quantization.
    images: `[N, H, W, 3] uint8`, on which errors are measured.
    budget: most bytes of the program's file.
    bits: that a lowered layer's weights get, 2 to 4.

  Raises:
    ValueError: a range is missing, or the budget is less than the bytes with
      every layer lowered; it says how many these are.
  """
  plain = lower(network)
  names = [
    operator.name
    for operator in weighted_operators(plain)
    if operator.weight_bits > bits
  ]
  low = lower(with_weight_bits(network, bits, names))

  def size(names: Collection[str]) -> int:
    return len(integer_program.to_bytes(_mix(plain, low, names)))

  whole = size(())
  saved = {name: whole - size((name,)) for name in names}
  # The description of packed weights is longer: few weights save nothing.
  saved = {name: count for name, count in saved.items() if count > 0}
  least = size(saved)
  if least > budget:
    raise ValueError(
      f'no program of {network.config.model.name} has {budget:,} bytes: with '
      f'{bits}-bit weights in all layers it has {least:,}; give that or more'
    )
  costs = _measure(network, low, images, saved)
  lowered = sensitivity.choose_layers(costs, size, budget)
  in_order = [name for name in saved if name in lowered]
  result = with_weight_bits(network, bits, in_order)
  cosines_before, cosines_after = _cosines(network, result, images)
  return Assignment(
    costs=sensitivity.lowering_order(costs),
    lowered=lowered,
    bits=bits,
    overrides=_overrides(network.config.quant, result, in_order),
    bytes_before=whole,
    bytes_after=size(lowered),
    cosines_before=cosines_before,
    cosines_after=cosines_after,
  )


def _mix(
  plain: IntegerProgram, low: IntegerProgram, names: Collection[str]
) -> IntegerProgram:
  """The first program, with the operators named taken from the second.

  The ranges of activations do not depend on the bits of weights, so the two
  programs have the same operators in the same order.
  """
  operators = tuple(
    b if b.name in names else a for a, b in zip(plain.operators, low.operators)
  )
  return dataclasses.replace(plain, operators=operators)


def _measure(
  network: Network,
  low: IntegerProgram,
  images: np.ndarray,
  saved: Mapping[str, int],
) -> list[LayerCost]:
  """The cost of each layer of `saved`, lowered alone."""
  progress.note(f'measuring {len(saved)} layers on {len(images)} images')
  errors = sensitivity.weight_errors(
    network.model, network.variables, low, images, list(saved)
  )
  weights = {
    operator.name: operator.weights.size for operator in weighted_operators(low)
  }
  return [
    LayerCost(name, weights[name], count, errors[name])
    for name, count in saved.items()
  ]


def _cosines(
  network: Network, result: Network, images: np.ndarray
) -> list[np.ndarray]:
  """Between float embeddings and fake-quantized ones, of both networks."""
  variables = network.variables
  expected = sensitivity.embed(network.model, variables, images, FLOAT)
  return [
    verification.cosine(
      expected, sensitivity.embed(one.model, variables, images, FAKE_QUANT)
    )
    for one in (network, result)
  ]


def _overrides(
  quant: ml_collections.ConfigDict, network: Network, names: list[str]
) -> dict[str, dict[str, Any]]:
  """The config's overrides, and after them one for each of these layers.

  Only the last that fits a layer holds, so it has all that the layer's own
  quantization differs in from the default.
  """
  spec = network.model.quant
  default = dataclasses.asdict(spec.default)
  overrides = quant.overrides.to_dict()
  for name in names:
    pattern = glob.escape(name)
    overrides.pop(pattern, None)
    overrides[pattern] = {
      field: value
      for field, value in dataclasses.asdict(spec.layer(name)).items()
      if value != default[field]
    }
  return overrides
