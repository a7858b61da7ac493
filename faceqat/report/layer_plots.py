"""Plots of the quantization of each layer: noise and ranges, in given axes.

`layers` are those of `evaluators.agreement.Agreement.to_json`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from faceqat.report import style

Layers = Sequence[Mapping[str, Any]]


def worst_layers(layers: Layers, count: int) -> list[int]:
  """The positions of the layers that lose most, the worst first."""
  lost = [-np.inf if x['lost'] is None else x['lost'] for x in layers]
  return [int(i) for i in np.argsort(-np.array(lost), kind='stable')[:count]]


def draw_sqnr(axes: Axes, layers: Layers, marked: Sequence[int]) -> None:
  """Signal to quantization noise of each layer, in the order they run.

  The positions in `marked` get a ring and their number, 1 for the first.
  """
  position = np.arange(1, len(layers) + 1)
  series = (
    ('float to fake-quantized', 'float_to_fake'),
    ('float to integer', 'float_to_integer'),
  )
  for i, (label, name) in enumerate(series):
    values = np.array([x[name] for x in layers], float)
    axes.plot(
      position,
      values,
      marker='o' if len(layers) <= 80 else '',
      markersize=4 - 1.5 * i,
      label=label,
      **style.line(i),
    )
  for number, index in enumerate(marked, 1):
    ratio = layers[index]['float_to_integer']
    if ratio is None:
      continue
    place = (position[index], ratio)
    axes.plot(
      *place,
      marker='o',
      markersize=11,
      markerfacecolor='none',
      markeredgecolor=style.MUTED,
      linestyle='',
    )
    axes.annotate(
      str(number),
      place,
      (0, -15),
      textcoords='offset points',
      ha='center',
      fontweight='bold',
    )
  axes.margins(y=0.15)
  style.clean(axes)


def draw_ranges(axes: Axes, layers: Layers) -> None:
  """The ranges of each layer's integers and of its float outputs."""
  position = np.arange(1, len(layers) + 1)
  held = np.array([x['range'] for x in layers], float)
  seen = np.array([x['float_range'] for x in layers], float)
  axes.bar(
    position,
    held[:, 1] - held[:, 0],
    bottom=held[:, 0],
    width=0.9,
    color=style.COLOURS[5],
    label='what the integers hold',
  )
  axes.vlines(
    position,
    seen[:, 0],
    seen[:, 1],
    color=style.COLOURS[1],
    linewidth=1.2,
    label='float outputs, least to greatest',
  )
  # Ranges differ by orders of magnitude, and have both signs.
  values = np.concatenate([held, seen])
  width = float(np.median(np.abs(values).max(axis=1))) / 4 or 1.0
  axes.set_yscale('asinh', linear_width=width)
  axes.set_yticks(*_asinh_ticks(values, width))
  axes.yaxis.set_minor_locator(NullLocator())
  style.clean(axes)


def _asinh_ticks(
  values: np.ndarray, width: float
) -> tuple[list[float], list[str]]:
  """Round numbers about as far apart on the axis, and how they are written."""
  limits = np.arcsinh(np.array([values.min(), values.max()]) / width)
  even = np.linspace(*limits, 8)
  texts = {f'{width * np.sinh(x):.1g}' for x in even}
  ticks = sorted({0.0, *map(float, texts)})
  # A tick that was rounded towards its neighbour would cover it.
  least = 0.6 * (even[1] - even[0])
  kept = [
    tick
    for tick in ticks
    if tick == 0
    or all(
      abs(np.arcsinh(tick / width) - np.arcsinh(other / width)) > least
      for other in ticks
      if abs(other) < abs(tick)
    )
  ]
  return kept, [f'{tick:g}' for tick in kept]
