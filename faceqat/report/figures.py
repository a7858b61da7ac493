"""Figures of a run, as files: ROC curves, training curves, hardest pairs.

A reader never sees half a picture. The object-oriented Matplotlib interface is
used throughout: no window, no global state.
"""

import io
import math
import os
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from sklearn import metrics

from faceqat import atomic
from faceqat.data.pairs import PairSet

# Okabe and Ito's palette, told apart with any colour vision; the line styles
# tell the curves apart in print.
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
_STYLES = ('-', '--', ':', '-.')
_MUTED = '#666666'


def _style(i: int) -> dict:
  """Line i: later ones are thinner, so that coinciding curves all show."""
  return {
    'color': _COLOURS[i % len(_COLOURS)],
    'linestyle': _STYLES[i % len(_STYLES)],
    'linewidth': max(2.6 - 0.6 * i, 1.2),
  }


def _clean(axes) -> None:
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(True, color='#dddddd', linewidth=0.6)
  axes.set_axisbelow(True)


def _save(figure: Figure, path: str | os.PathLike) -> None:
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  picture = io.BytesIO()
  figure.savefig(picture, format=path.suffix[1:] or 'png', dpi=150)
  atomic.write(path, picture.getvalue())


def roc_figure(
  results: Mapping[str, tuple[np.ndarray, np.ndarray]],
  path: str | os.PathLike,
) -> None:
  """Draws ROC curves together, beside the histograms of their scores.

  The false accept rate is logarithmic and starts at one false accept; below
  ten of them the background is grey, because a rate there is mostly noise.

  Args:
    results: By reading: scores [P], higher for the same person, and same [P]
      bool. At most three are told apart well.
    path: File to write; its suffix is the format (`.png`, `.svg`, `.pdf`).

  Raises:
    ValueError: There is no reading, or one has pairs of one kind only.
  """
  if not results:
    raise ValueError('A ROC figure needs at least one reading, got none.')
  figure = Figure(figsize=(11, 4.4), layout='constrained')
  roc, histogram = figure.subplots(1, 2)

  num_negative, lowest_tar = 0, 0.95
  for i, (reading, (scores, same)) in enumerate(results.items()):
    same = np.asarray(same, bool)
    negatives = int(np.sum(~same))
    if negatives in (0, len(same)):
      raise ValueError(
        f'The ROC curve of {reading!r} needs pairs of the same and of '
        f'different people, got {len(same) - negatives} and {negatives}.'
      )
    far, tar, _ = metrics.roc_curve(same, scores)
    # A logarithmic axis has no 0: the first point stands at one false accept.
    roc.step(
      np.maximum(far, 1 / negatives),
      tar,
      where='post',
      label=f'{reading}, AUC {metrics.auc(far, tar):.4f}',
      **_style(i),
    )
    num_negative = max(num_negative, negatives)
    lowest_tar = min(lowest_tar, np.max(tar[far <= 1 / negatives]))
  roc.set_xscale('log')
  roc.set_xlim(1 / num_negative, 1)
  margin = 0.04 * (1 - lowest_tar)
  roc.set_ylim(lowest_tar - margin, 1 + margin)
  roc.axvspan(
    1 / num_negative, min(10 / num_negative, 1), color='#eeeeee', zorder=0
  )
  roc.set_xlabel(
    f'false accept rate, {num_negative} pairs of different people\n'
    '(grey: fewer than ten false accepts)'
  )
  roc.set_ylabel('true accept rate')
  roc.set_title('ROC')
  roc.legend(loc='lower right')
  _clean(roc)

  everything = np.concatenate([scores for scores, _ in results.values()])
  bins = np.histogram_bin_edges(everything, bins=60)
  for i, (reading, (scores, same)) in enumerate(results.items()):
    for which, name in ((True, 'same'), (False, 'different')):
      chosen = np.asarray(scores)[np.asarray(same, bool) == which]
      histogram.hist(
        chosen,
        bins,
        # Fractions, not densities: they stay finite on constant scores.
        weights=np.full(len(chosen), 1 / len(chosen)),
        histtype='stepfilled' if i == 0 else 'step',
        alpha=0.25 if i == 0 else 1,
        color=('#0072B2' if which else '#D55E00'),
        linestyle='-' if i == 0 else _STYLES[i % len(_STYLES)],
        linewidth=1.3,
        label=f'{name}, {reading}',
      )
  histogram.set_xlabel('score (cosine)')
  histogram.set_ylabel('fraction of the pairs')
  histogram.set_title('Scores of the same person and of different people')
  # Room above the bars for the legend.
  histogram.set_ylim(top=1.25 * histogram.get_ylim()[1])
  histogram.legend(fontsize='small', loc='upper center', ncols=len(results))
  _clean(histogram)
  _save(figure, path)


def _draw_curve(axes, steps, values, label, style) -> None:
  steps, values = np.asarray(steps), np.asarray(values, np.float64)
  reach = len(values) // 100
  if reach and np.isfinite(values).all():
    axes.plot(steps, values, color=style['color'], alpha=0.25, linewidth=0.8)
    # The mean of the values around each; it ends where they no longer suffice.
    window = 2 * reach + 1
    values = np.convolve(values, np.full(window, 1 / window), mode='valid')
    steps = steps[reach:-reach]
  # A curve of few points is a list of measurements: mark each.
  marker = 'o' if len(values) <= 30 else ''
  axes.plot(steps, values, marker=marker, markersize=4, label=label, **style)


def curves_figure(
  history: Mapping[str, tuple[np.ndarray, np.ndarray]],
  path: str | os.PathLike,
  quantization_start: int | None = None,
) -> None:
  """Draws training and validation curves, one panel a quantity.

  `train/loss` and `valid/loss` share the panel `loss`, where they are called
  `train` and `valid`. A curve of 100 points or more is drawn as its running
  mean over a fiftieth of them, above the values themselves in a pale tone.

  Args:
    history: By name: steps [T] and values [T].
    path: File to write; its suffix is the format.
    quantization_start: The step from which activations are quantized, marked
      by a line in every panel; None draws no line.

  Raises:
    ValueError: There is no curve.
  """
  if not history:
    raise ValueError('A figure of curves needs at least one curve, got none.')
  panels: dict[str, dict[str, tuple]] = {}
  for name, curve in history.items():
    prefix, _, quantity = name.rpartition('/')
    panels.setdefault(quantity, {})[prefix] = curve

  width = 1 if len(panels) == 1 else 2
  height = math.ceil(len(panels) / width)
  figure = Figure(figsize=(5.5 * width, 3.2 * height), layout='constrained')
  grid = figure.subplots(height, width, squeeze=False, sharex=True).flat
  # The panels come first: zip stops at the end of them and takes no more axes.
  for (quantity, curves), axes in zip(panels.items(), grid):
    for i, (label, (steps, values)) in enumerate(curves.items()):
      _draw_curve(axes, steps, values, label, _style(i))
    if quantization_start is not None:
      axes.axvline(
        quantization_start,
        color=_MUTED,
        linestyle=(0, (1, 1)),
        label='quantization starts',
      )
    axes.set_title(quantity)
    axes.set_xlabel('step')
    axes.tick_params(labelbottom=True)
    if any(curves) or quantization_start is not None:
      axes.legend(fontsize='small')
    _clean(axes)
  for axes in grid:
    axes.set_visible(False)
  _save(figure, path)


def pairs_figure(
  pair_set: PairSet,
  scores: np.ndarray,
  path: str | os.PathLike,
  pairs_per_kind: int = 8,
) -> None:
  """Shows the pairs that a threshold most likely gets wrong.

  Above are the different people with the highest scores (false matches),
  below the same people with the lowest (false non-matches), hardest first.
  Each has its score and its number in the set.

  Args:
    pair_set: P pairs over a sequence of images.
    scores: [P], higher for the same person.
    path: File to write; its suffix is the format.
    pairs_per_kind: At most so many of each kind.

  Raises:
    ValueError: The number of scores is not that of the pairs.
  """
  same = np.asarray(pair_set.same, bool)
  scores = np.asarray(scores)
  if scores.shape != same.shape:
    raise ValueError(
      f'The pair set has {len(same)} pairs, but there are scores of shape '
      f'{scores.shape}; pass one score a pair.'
    )
  order = np.argsort(scores, kind='stable')
  kinds = (
    ('Different people, highest scores', order[::-1][~same[order[::-1]]]),
    ('Same person, lowest scores', order[same[order]]),
  )
  width = min(4, pairs_per_kind)
  height = math.ceil(pairs_per_kind / width)
  figure = Figure(figsize=(3 * width, 3.8 * height), layout='constrained')
  for block, (title, hardest) in zip(figure.subfigures(2, 1), kinds):
    block.suptitle(title, fontweight='bold')
    grid = block.subplots(height, width, squeeze=False).flat
    for axes in grid:
      axes.axis('off')
    for axes, pair in zip(block.axes, hardest[:pairs_per_kind]):
      first = pair_set.images[int(pair_set.first[pair])]
      second = pair_set.images[int(pair_set.second[pair])]
      gap = np.full([first.shape[0], 4, 3], 255, np.uint8)
      axes.imshow(np.concatenate([first, gap, second], axis=1))
      axes.set_title(f'{scores[pair]:.3f}  (pair {pair})', fontsize='medium')
  _save(figure, path)
