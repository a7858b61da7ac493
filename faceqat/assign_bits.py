"""Chooses the layers whose weights get 4 bits, so that a program fits a budget.

  python -m faceqat.assign_bits --model=runs/mbv2_int8 --budget=600000

The run has to be calibrated or trained with quantization. Each layer's weights
are rounded alone and the error of the embedding is measured on training images;
layers go to fewer bits in the order of error per byte saved, until the real
program file fits. `bits.json` is then the `quant.overrides` of a new run:

  config.quant.overrides = json.loads(pathlib.Path('bits.json').read_text())

The ranges of another training are other decimal numbers in the file's header:
a budget that has to hold after it wants some hundred bytes to spare.
"""

import dataclasses
import glob
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np
from absl import flags

from faceqat import command
from faceqat.calibration import sensitivity
from faceqat.calibration.lower import (
  lower,
  weighted_operators,
  with_weight_bits,
)
from faceqat.calibration.sensitivity import LayerCost
from faceqat.data import datasets
from faceqat.evaluators import verification
from faceqat.files import atomic
from faceqat.integer import packing
from faceqat.integer import program as integer_program
from faceqat.integer.program import IntegerProgram
from faceqat.models.network import Network
from faceqat.quant.spec import FAKE_QUANT, FLOAT
from faceqat.report.table import Table
from faceqat.training.checkpoint import load_network


@dataclasses.dataclass(frozen=True)
class Assignment:
  """Which layers get fewer weight bits, and what comes of it.

  Attributes:
    costs: of the layers that could, in the order in which they would.
    lowered: names of those that do.
    bits: theirs.
    overrides: the config's `quant.overrides` with them.
    bytes_before: of the program file of the network as it is.
    bytes_after: of the program file with them.
    cosines_before: [N] float64, of the float embeddings and those that the
      network as it is gives when it is fake-quantized.
    cosines_after: the same with them.
  """

  costs: list[LayerCost]
  lowered: frozenset[str]
  bits: int
  overrides: dict[str, dict[str, Any]]
  bytes_before: int
  bytes_after: int
  cosines_before: np.ndarray
  cosines_after: np.ndarray

  def table(self) -> Table:
    """One line a layer, in the order in which they get fewer bits."""
    rows = [
      [
        cost.name,
        f'{cost.weights:,}',
        f'{cost.saved:,}',
        f'{cost.error:.1e}',
        f'{self.bits}' if cost.name in self.lowered else 'as before',
      ]
      for cost in self.costs
    ]
    titles = ['layer', 'weights', 'bytes saved', 'error alone', 'bits']
    return Table(titles, rows)

  def summary(self) -> Table:
    """The file and the embeddings, before and after."""
    rows = []
    for name, size, cosines in (
      ('as it is', self.bytes_before, self.cosines_before),
      ('lowered', self.bytes_after, self.cosines_after),
    ):
      mean, low = np.mean(cosines), np.percentile(cosines, 1)
      rows.append([name, f'{size:,}', f'{mean:.4f}', f'{low:.4f}'])
    return Table(['', 'bytes', 'cosine', '1st pct'], rows)


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
    if operator.weight_bits > packing.PACKED_BITS
  ]
  low = lower(with_weight_bits(network, bits, names))

  # The ranges of activations have no part in the bits of weights: operators
  # of the two programs stand beside each other.
  def size(names: frozenset[str]) -> int:
    return len(integer_program.to_bytes(_mix(plain, low, names)))

  whole = size(frozenset())
  saved = {name: whole - size(frozenset({name})) for name in names}
  # The description of packed weights is longer: few weights save nothing.
  saved = {name: count for name, count in saved.items() if count > 0}
  least = size(frozenset(saved))
  if least > budget:
    raise ValueError(
      f'no program of {network.config.model.name} has {budget:,} bytes: with '
      f'{bits}-bit weights in all layers it has {least:,}; give that or more'
    )
  costs = _measure(network, low, images, saved)
  lowered = sensitivity.choose_layers(costs, size, budget)
  in_order = [name for name in saved if name in lowered]
  result = with_weight_bits(network, bits, in_order)
  variables = network.variables
  expected = sensitivity.embed(network.model, variables, images, FLOAT)
  cosines_before, cosines_after = (
    verification.cosine(
      expected, sensitivity.embed(one.model, variables, images, FAKE_QUANT)
    )
    for one in (network, result)
  )
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


def _measure(
  network: Network,
  low: IntegerProgram,
  images: np.ndarray,
  saved: Mapping[str, int],
) -> list[LayerCost]:
  """What each layer of `saved` costs and saves, lowered alone."""
  print(f'measuring {len(saved)} layers on {len(images)} images', flush=True)
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


def _mix(
  plain: IntegerProgram, low: IntegerProgram, names: frozenset[str]
) -> IntegerProgram:
  """The first program, but for the operators named: those of the second."""
  operators = tuple(
    b if b.name in names else a for a, b in zip(plain.operators, low.operators)
  )
  return dataclasses.replace(plain, operators=operators)


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


def load_images(
  data: ml_collections.ConfigDict, path: str | None, count: int
) -> np.ndarray:
  """Images of a training set, evenly spread over it and so over its people.

  Args:
    data: the config's block `data`, of whose set they are by default.
    path: of another set: a folder `person/image.jpg`, or a RecordIO file.
    count: how many, if there are so many.

  Returns:
    `[count, H, W, 3] uint8`.

  Raises:
    ValueError: no such set, or one of another image size.
  """
  if path:
    data = data.copy_and_resolve_references()
    data.update(validation_people=0, holdout_images_per_person=0)
    # It may name several sets.
    with data.ignore_type():
      data.path = path
  source = datasets.make_training_data(data).train
  spread = np.linspace(0, len(source) - 1, min(count, len(source)))
  return np.stack([source[int(index)]['image'] for index in spread])


def _python(overrides: Mapping[str, Mapping[str, Any]]) -> str:
  """As it stands in a config file."""
  lines = [f'  {key!r}: {value!r},' for key, value in overrides.items()]
  return '\n'.join(['config.quant.overrides = {', *lines, '}'])


def define_flags():
  flags.DEFINE_string('model', None, 'Folder of a training run.')
  flags.DEFINE_string('step', 'latest', "'latest', 'best' or a number.")
  flags.DEFINE_integer(
    'budget', None, 'Most bytes of the program file.', lower_bound=1
  )
  flags.DEFINE_integer(
    'low',
    packing.PACKED_BITS,
    'Bits of a lowered layer; 2 and 3 take as many bytes as 4.',
    lower_bound=2,
    upper_bound=packing.PACKED_BITS,
  )
  flags.DEFINE_string(
    'images',
    None,
    'Folder person/image.jpg, or RecordIO file, to measure on; by default the '
    "run's training images.",
  )
  flags.DEFINE_integer(
    'num_images', 128, 'How many to measure on.', lower_bound=1
  )
  flags.DEFINE_string('out', None, 'Folder for bits.json; the run by default.')
  flags.mark_flags_as_required(['model', 'budget'])


def main():
  args = flags.FLAGS
  out = pathlib.Path(args.out or args.model)
  if out.exists() and not out.is_dir():
    raise ValueError(
      f'--out={out} is a file; give a folder, which is made if there is none'
    )
  network = load_network(args.model, args.step)
  images = load_images(network.config.data, args.images, args.num_images)
  assignment = assign_bits(network, images, budget=args.budget, bits=args.low)
  out.mkdir(parents=True, exist_ok=True)
  text = json.dumps(assignment.overrides, indent=2)
  atomic.write(out / 'bits.json', f'{text}\n'.encode())
  print(assignment.table())
  print(f'\n{_python(assignment.overrides)}\n')
  print(assignment.summary())
  print(f'these overrides as JSON: {out / "bits.json"}')


if __name__ == '__main__':
  define_flags()
  command.run(main)
