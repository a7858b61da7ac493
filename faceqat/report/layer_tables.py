"""The tables of the layers: what quantization costs in each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from faceqat.report.table import Table

# A table needs neither Matplotlib nor what made its numbers.
if TYPE_CHECKING:
  from faceqat.calibration.bit_assignment import Assignment
  from faceqat.calibration.recalibration import Recalibrated
  from faceqat.evaluators.agreement import Agreement
  from faceqat.report.layer_plots import Layers

_TITLES = (
  'layer',
  'lost dB',
  'SQNR dB',
  'bits',
  'integers hold',
  'float outputs',
  'clipped',
  'integer not fake-quantized',
)

_SHOWN_CHANGES = 5


def agreement_table(found: 'Agreement') -> Table:
  """One line a layer, the worst one marked, and the embedding's cosines."""
  titles = ['layer', 'float-fake dB', 'float-int dB', 'lost dB']
  titles += ['fake-int steps', 'differing', '']
  rows = [
    [
      layer.name,
      f'{layer.float_to_fake:.1f}',
      f'{layer.float_to_integer:.1f}',
      f'{layer.lost:.1f}',
      f'{layer.fake_to_integer_steps}',
      f'{layer.fake_to_integer_differing:.2%}',
      '<- worst' if layer is found.worst else '',
    ]
    for layer in found.layers
  ]
  return Table(titles, rows, [found.summary()])


def layers_table(layers: 'Layers') -> Table:
  """One line a layer, as `Agreement.to_json` gives them."""
  return Table(_TITLES, [_cells(layer) for layer in layers])


def costs_table(assignment: 'Assignment') -> Table:
  """One line a layer: its error alone by bits, and the bits it gets."""
  choices = sorted({bits for cost in assignment.costs for bits in cost.errors})
  rows = [
    [
      cost.name,
      f'{cost.weights:,}',
      *(
        f'{cost.errors[bits]:.1e}' if bits in cost.errors else '-'
        for bits in choices
      ),
      f'{cost.sizes[assignment.bits[cost.name]]:,}',
      f'{assignment.bits[cost.name]}',
    ]
    for cost in assignment.costs
  ]
  errors = [f'error, {bits} bits' for bits in choices]
  return Table(['layer', 'weights', *errors, 'bytes', 'bits'], rows)


def programs_table(assignment: 'Assignment') -> Table:
  """The file and the embeddings, before and after, by weights alone."""
  rows = []
  for name, size, cosines in (
    ('as it is', assignment.bytes_before, assignment.cosines_before),
    ('lowered', assignment.bytes_after, assignment.cosines_after),
  ):
    mean, low = np.mean(cosines), np.percentile(cosines, 1)
    rows.append([name, f'{size:,}', f'{mean:.4f}', f'{low:.4f}'])
  return Table(['', 'bytes', 'cosine', '1st pct'], rows)


def ranges_table(found: 'Recalibrated') -> Table:
  """The layers whose range changed most, in the order of the change."""
  rows = [
    [
      change.layer,
      _span(change.before),
      _span(change.after),
      f'{100 * change.share:.0f} %',
    ]
    for change in found.changes[:_SHOWN_CHANGES]
  ]
  return Table(['layer', 'packaged range', 'own range', 'moved'], rows)


def forms_table(found: 'Recalibrated') -> Table:
  """Packaged and own ranges on images that were held out."""
  rows = []
  for name, form in (('packaged', found.packaged), ('own', found.own)):
    mean, low = np.mean(form.cosines), np.min(form.cosines)
    rows.append([name, f'{mean:.4f}', f'{low:.4f}', form.digest[:16]])
  return Table(
    ['ranges', 'cosine to float', 'least', 'program, SHA-256'],
    rows,
    [
      f'Calibrated on {found.images} images; cosines on '
      f'{len(found.own.cosines)} others.'
    ],
  )


def _span(ends: tuple[float, float]) -> str:
  low, high = ends
  return f'{low:.3g} to {high:.3g}'


def _cells(layer: Mapping[str, Any]) -> list[str]:
  def decibels(name):
    return 'exact' if layer[name] is None else f'{layer[name]:.1f}'

  return [
    layer['name'],
    decibels('lost'),
    decibels('float_to_integer'),
    str(layer['bits']),
    _span(layer['range']),
    _span(layer['float_range']),
    f'{100 * layer["clipped"]:.2f} %',
    f'{100 * layer["fake_to_integer_differing"]:.2f} %',
  ]
