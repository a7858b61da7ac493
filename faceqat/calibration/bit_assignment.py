"""Chooses the bits of the weights of each layer, to fit a size of file."""

import dataclasses
import glob
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from faceqat import progress
from faceqat.calibration import sensitivity
from faceqat.calibration.lower import (
  lower,
  real_weights,
  weighted_operators,
  with_weight_bits,
)
from faceqat.calibration.sensitivity import LayerCost
from faceqat.evaluators import verification
from faceqat.integer import operators as ops
from faceqat.integer import packing
from faceqat.integer import program as integer_program
from faceqat.integer.program import IntegerProgram
from faceqat.models.network import Network
from faceqat.quant.spec import FLOAT, make_spec

# What a layer may get, unless a user names others.
CHOICES = (2, 3, 4, 6, 8)


@dataclasses.dataclass(frozen=True)
class Assignment:
  """The layers that get fewer weight bits, and the program before and after.

  Attributes:
    costs: of all layers with weights, in the order they run.
    bits: by layer, of all.
    lowered: names of those that have fewer than before.
    overrides: the config's `quant.overrides` with them.
    bytes_before, bytes_after: of the program file.
    cosines_before, cosines_after: [N] float64, between the float embeddings and
      those with all weights rounded.
  """

  costs: list[LayerCost]
  bits: dict[str, int]
  lowered: frozenset[str]
  overrides: dict[str, dict[str, Any]]
  bytes_before: int
  bytes_after: int
  cosines_before: np.ndarray
  cosines_after: np.ndarray


def assign_bits(
  network: Network,
  images: np.ndarray,
  *,
  budgets: Sequence[int],
  choices: Collection[int] = CHOICES,
  spare: float = 0.0,
) -> list[Assignment]:
  """Chooses the bits of all weights, so that the program's file fits a budget.

  The sum of what each layer's rounding alone costs is the least that the budget
  allows (`sensitivity.choose_bits`). No layer gets more bits than it has.

  Args:
    network: calibrated, or trained with quantization.
    images: `[N, H, W, 3] uint8`, on which errors are measured.
    budgets: most bytes of the program's file, of each choice.
    choices: bits that a layer may get.
    spare: the share of a budget that is left free, as the scales and biases of
      another training take other numbers of bits.

  Returns:
    One for each budget.

  Raises:
    ValueError: a range is missing, or what a budget leaves is less than the
      bytes with the fewest bits in every layer; it says how many these are.
  """
  programs = _programs(network, choices)
  forms = _operators_by_bits(programs)
  has = {o.name: o.weight_bits for o in weighted_operators(programs[None])}

  def size(bits: Mapping[str, int]) -> int:
    return len(integer_program.to_bytes(_mix(programs[None], forms, bits)))

  fewest = {name: min(operators) for name, operators in forms.items()}
  least = size(fewest)
  _check_budgets(
    budgets, spare, least, min(fewest.values()), network.config.model.name
  )
  kernels = _kernels(network, forms, has)
  costs = _costs(network, images, forms, kernels)
  limits = [math.floor(budget * (1 - spare)) for budget in budgets]
  found = [_fit(costs, size, least, limit) for limit in limits]
  before, *after = _cosines(network, images, kernels, has, *found)
  return [
    Assignment(
      costs=costs,
      bits=bits,
      lowered=frozenset(name for name in has if bits[name] < has[name]),
      overrides=overrides_with(network.config.quant, bits),
      bytes_before=size(has),
      bytes_after=size(bits),
      cosines_before=before,
      cosines_after=cosines,
    )
    for bits, cosines in zip(found, after, strict=True)
  ]


def _check_budgets(
  budgets: Sequence[int], spare: float, least: int, fewest: int, model: str
):
  """Refuses budgets under the least bytes, those with the fewest bits."""
  needed = math.ceil(least / (1 - spare))
  if needed > min(budgets):
    raise ValueError(
      f'no program of {model} has {min(budgets):,} bytes'
      + (f' and {spare:.0%} of them to spare' if spare else '')
      + f': with {fewest}-bit weights in all layers it has {least:,}; give '
      f'{needed:,} or more'
    )


# By layer and number of bits.
_Forms = dict[str, dict[int, ops.Weighted]]
_Kernels = dict[str, dict[int, np.ndarray]]


def _programs(
  network: Network, choices: Collection[int]
) -> dict[int | None, IntegerProgram]:
  """The program, and those with all layers that have more at so many bits."""
  programs = {None: lower(network)}
  for bits in choices:
    names = [
      operator.name
      for operator in weighted_operators(programs[None])
      if operator.weight_bits > bits
    ]
    if names:
      programs[bits] = lower(with_weight_bits(network, bits, names))
  return programs


def _operators_by_bits(programs: Mapping[int | None, IntegerProgram]) -> _Forms:
  forms: _Forms = {}
  for program in programs.values():
    for operator in weighted_operators(program):
      forms.setdefault(operator.name, {})[operator.weight_bits] = operator
  return forms


def _mix(
  program: IntegerProgram, forms: _Forms, bits: Mapping[str, int]
) -> IntegerProgram:
  """The program with other forms of its operators.

  The ranges of activations do not depend on the bits of weights, so the others
  stay as they are.
  """
  operators = tuple(
    forms[x.name][bits[x.name]] if x.name in bits else x
    for x in program.operators
  )
  return dataclasses.replace(program, operators=operators)


def _kernels(
  network: Network, forms: _Forms, has: Mapping[str, int]
) -> _Kernels:
  """The folded kernels of all forms, rounded."""
  reals, spec = real_weights(network), network.model.quant
  return {
    name: {
      bits: operator.weights * operator.weight_scale
      if bits == has[name]
      else sensitivity.round_kernel(
        np.asarray(reals[name]['kernel'], np.float32),
        bits,
        per_channel=spec.layer(name).per_channel,
      )
      for bits, operator in operators.items()
    }
    for name, operators in forms.items()
  }


def _costs(
  network: Network, images: np.ndarray, forms: _Forms, kernels: _Kernels
) -> list[LayerCost]:
  """What each form of each layer costs."""
  progress.note(f'measuring {len(forms)} layers on {len(images)} images')
  errors = sensitivity.weight_errors(
    network.model, network.variables, kernels, images
  )
  return [
    LayerCost(
      name,
      next(iter(operators.values())).weights.size,
      {bits: _packed_size(operator) for bits, operator in operators.items()},
      errors[name],
    )
    for name, operators in forms.items()
  ]


def _packed_size(operator: ops.Weighted) -> int:
  arrays = {name: getattr(operator, name) for name in operator.ARRAYS}
  return packing.pack_arrays(arrays)[1].size


def _fit(costs: list[LayerCost], size, least: int, budget: int):
  """The best bits by layer whose file has at most `budget` bytes.

  The file is measured: how far its description can be compressed depends on
  all layers, and moves by some ten bytes.
  """
  all_least = sum(cost.least for cost in costs)
  limit = budget - least + all_least
  while limit > all_least:
    bits = sensitivity.choose_bits(costs, limit)
    excess = size(bits) - budget
    if excess <= 0:
      return bits
    limit -= excess
  return {cost.name: min(cost.sizes, key=cost.sizes.get) for cost in costs}


def _cosines(network, images, kernels: _Kernels, *assigned) -> list[np.ndarray]:
  """Between float embeddings and those with all weights at assigned bits."""
  model, variables = network.model, network.variables
  with_kernels = sensitivity.kernel_setter(model, variables, images[:1])
  expected = sensitivity.embed(model, variables, images, FLOAT)
  found = []
  for bits in assigned:
    changed = with_kernels({n: kernels[n][bits[n]] for n in kernels})
    rounded = sensitivity.embed(model, changed, images, FLOAT)
    found.append(verification.cosine(expected, rounded))
  return found


def overrides_with(
  quant: ml_collections.ConfigDict, bits: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
  """The config's overrides, and one for each layer whose bits change.

  Only the last that fits a layer holds, so it has all that the layer's own
  quantization differs in from the default.

  Args:
    quant: the config's block.
    bits: of the weights, by layer.
  """
  overrides = quant.overrides.to_dict()
  spec = make_spec(quant.default, overrides)
  default = dataclasses.asdict(spec.default)
  for name, count in bits.items():
    layer = spec.layer(name)
    if layer.weight_bits == count:
      continue
    changed = dataclasses.replace(layer, weight_bits=count)
    pattern = glob.escape(name)
    overrides.pop(pattern, None)
    overrides[pattern] = {
      field: value
      for field, value in dataclasses.asdict(changed).items()
      if value != default[field]
    }
  return overrides
