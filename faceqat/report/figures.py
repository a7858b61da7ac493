"""Figures of a run, as files: ROC curves, training curves, hardest pairs.

A file appears whole or not at all; its suffix is the format (`.png`, `.svg`).
Matplotlib's object-oriented interface has no window and no global state.
"""

import io
import math
import os
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.files import atomic, folders
from faceqat.report import plots, style
from faceqat.report.hardest import hardest_pairs, side_by_side


def save(figure: Figure, path: str | os.PathLike) -> None:
  """Writes a figure; its folder is made if it does not exist."""
  path = pathlib.Path(path)
  folders.make(path.parent)
  picture = io.BytesIO()
  figure.savefig(picture, format=path.suffix[1:] or 'png', dpi=150)
  atomic.write(path, picture.getvalue())


def roc_figure(
  results: Mapping[str, tuple[np.ndarray, np.ndarray]], path: str | os.PathLike
) -> None:
  """Draws ROC curves together, beside the histograms of their scores.

  Args:
    results: by precision: scores [P], higher for the same person, and same [P]
      bool. At most three are told apart well.
    path: file to write.

  Raises:
    ValueError: there is no precision, or one has pairs of one kind only.
  """
  plots.check(results)
  figure = Figure(figsize=(11, 4.4), layout='constrained')
  roc, histogram = figure.subplots(1, 2)
  plots.draw_roc(roc, results)
  num_negative = max(int(np.sum(~same)) for _, same in results.values())
  roc.set_xlabel(
    f'false accept rate, {num_negative} pairs of different people\n'
    '(grey: fewer than ten false accepts)'
  )
  roc.set_ylabel('true accept rate')
  roc.set_title('ROC')
  roc.legend(loc='lower right')

  plots.draw_histogram(histogram, results)
  histogram.set_xlabel('score (cosine)')
  histogram.set_ylabel('fraction of the pairs')
  histogram.set_title('Scores of the same person and of different people')
  # Room above the bars for the legend.
  histogram.set_ylim(top=1.25 * histogram.get_ylim()[1])
  histogram.legend(fontsize='small', loc='upper center', ncols=len(results))
  save(figure, path)


def curves_figure(
  history: Mapping[str, tuple[np.ndarray, np.ndarray]],
  path: str | os.PathLike,
  quantization_start: int | None = None,
) -> None:
  """Draws training and validation curves, one panel a quantity.

  `train/loss` and `validation/loss` share the panel `loss`, where they are
  called `train` and `validation`.

  Args:
    history: by name: steps [T] and values [T].
    path: file to write.
    quantization_start: the step from which activations are quantized, marked
      by a line in every panel.

  Raises:
    ValueError: there is no curve.
  """
  if not history:
    raise ValueError('A figure of curves needs at least one curve, got none')
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
    starts = {}
    if quantization_start is not None:
      starts['quantization starts'] = quantization_start
    plots.draw_curves(axes, curves, starts)
    axes.set_title(quantity)
    axes.set_xlabel('step')
    axes.tick_params(labelbottom=True)
    if any(curves) or starts:
      axes.legend(fontsize='small')
  for axes in grid:
    axes.set_visible(False)
  save(figure, path)


def pairs_figure(
  pair_set: PairSet,
  scores: np.ndarray,
  path: str | os.PathLike,
  pairs_per_kind: int = 8,
) -> None:
  """Shows the pairs that a threshold most likely gets wrong.

  Above are the different people with the highest scores (false matches),
  below the same people with the lowest (false non-matches), hardest first.

  Args:
    pair_set: P pairs over a sequence of images.
    scores: [P], higher for the same person.
    path: file to write.
    pairs_per_kind: at most so many of each kind.

  Raises:
    ValueError: the number of scores is not that of the pairs.
  """
  same = np.asarray(pair_set.same, bool)
  scores = np.asarray(scores)
  if scores.shape != same.shape:
    raise ValueError(
      f'The pair set has {len(same)} pairs, but there are scores of shape '
      f'{scores.shape}; pass one score a pair'
    )
  false_matches, false_rejects = hardest_pairs(scores, same)
  kinds = (
    ('Different people, highest scores', false_matches),
    ('Same person, lowest scores', false_rejects),
  )
  width = min(4, pairs_per_kind)
  height = math.ceil(pairs_per_kind / width)
  figure = Figure(figsize=(3 * width, 4.4 * height), layout='constrained')
  for block, (title, hardest) in zip(figure.subfigures(2, 1), kinds):
    block.suptitle(title, fontweight='bold')
    grid = block.subplots(height, width, squeeze=False).flat
    for axes in grid:
      axes.axis('off')
      # The layout would measure ticks that are not drawn: half of the time.
      axes.set(xticks=[], yticks=[])
    for axes, pair in zip(block.axes, hardest[:pairs_per_kind]):
      first = pair_set.images[int(pair_set.first[pair])]
      second = pair_set.images[int(pair_set.second[pair])]
      axes.imshow(side_by_side(first, second))
      title = f'{scores[pair]:.3f}  (pair {pair})'
      names = _names(pair_set, int(pair))
      axes.set_title('\n'.join([title, *names]), fontsize='small')
  save(figure, path)


def _names(pair_set: PairSet, pair: int) -> list[str]:
  """Both images, as person/image.jpg, in lines that are not too long."""
  if pair_set.image_name is None:
    return []
  ends = pair_set.first[pair], pair_set.second[pair]
  paths = [pair_set.image_name(int(index)).split('/') for index in ends]
  return [style.text('/'.join(path[-2:])[-40:]) for path in paths]
