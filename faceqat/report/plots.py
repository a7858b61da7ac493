"""Plots of a network's scores: each function draws into given axes.

Curves that share the axes are given by label: scores [P] float, higher for the
same person, and same [P] bool. At most three are told apart well.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm
from sklearn import metrics

from faceqat.evaluators.verification import MIN_FALSE_ACCEPTS
from faceqat.report import style

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]

# Error rates at which a DET plot has its ticks.
_DET_TICKS = (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.99)
_BINS = 60


def check(precisions: Curves) -> None:
  """Refuses curves of no precision, or of pairs of one kind only."""
  if not precisions:
    raise ValueError('A ROC figure needs at least one precision, got none')
  for precision, (_, same) in precisions.items():
    positives = int(np.sum(same))
    if positives in (0, len(same)):
      raise ValueError(
        f'The ROC curve of {precision!r} needs pairs of the same and of '
        f'different people, got {positives} and {len(same) - positives}'
      )


def draw_roc(axes: Axes, precisions: Curves) -> None:
  """The true accept rate over the false accept rate.

  The latter is logarithmic and starts at one false accept; below ten of them
  the background is grey, because a rate there is mostly noise.
  """
  num_negative, lowest_tar = 0, 0.95
  for i, (precision, (scores, same)) in enumerate(precisions.items()):
    far, tar, _ = metrics.roc_curve(same, scores)
    negatives = int(np.sum(~same))
    # A logarithmic axis has no 0: the first point stands at one false accept.
    axes.step(
      np.maximum(far, 1 / negatives),
      tar,
      where='post',
      label=f'{style.text(precision)}, AUC {metrics.auc(far, tar):.4f}',
      **style.line(i),
    )
    num_negative = max(num_negative, negatives)
    lowest_tar = min(lowest_tar, np.max(tar[far <= 1 / negatives]))
  axes.set_xscale('log')
  axes.set_xlim(1 / num_negative, 1)
  margin = 0.04 * (1 - lowest_tar)
  axes.set_ylim(lowest_tar - margin, 1 + margin)
  few = min(MIN_FALSE_ACCEPTS / num_negative, 1)
  axes.axvspan(1 / num_negative, few, color=style.SHADE, zorder=0)
  style.clean(axes)


def draw_det(axes: Axes, precisions: Curves) -> None:
  """False non-matches over false matches, both as normal deviates (probits).

  Where the scores of either kind are normal, the curve is a straight line.
  Rates of 0 and 1 have no place on such axes and are drawn half a pair away.
  Grey: fewer than ten errors. The thin line has equal rates.

  Source: Martin et al. 1997, "The DET curve in assessment of detection task
  performance"; ISO/IEC 19795-1.
  """
  counts, worst = np.zeros(2, int), 0.4
  for i, (precision, (scores, same)) in enumerate(precisions.items()):
    far, tar, _ = metrics.roc_curve(same, scores)
    kinds = np.array([np.sum(~same), np.sum(same)])
    x, y = (
      norm.ppf(np.clip(rate, 0.5 / count, 1 - 0.5 / count))
      for rate, count in zip((far, 1 - tar), kinds)
    )
    axes.step(x, y, where='post', label=style.text(precision), **style.line(i))
    counts = np.maximum(counts, kinds)
    worst = max(worst, np.min(1 - tar[far <= 1 / kinds[0]]))
  # The axes start at one error, unless there are next to no pairs.
  least = norm.ppf(np.minimum(1 / counts, 0.2))
  few = norm.ppf(np.minimum(MIN_FALSE_ACCEPTS / counts, 0.4))
  most = norm.ppf(min(worst, 0.99))
  axes.axvspan(least[0], few[0], color=style.SHADE, zorder=0)
  axes.axhspan(least[1], few[1], color=style.SHADE, zorder=0)
  axes.axline((0, 0), slope=1, color=style.MUTED, linewidth=0.8)
  ticks = norm.ppf(_DET_TICKS)
  labels = [style.percent(rate) for rate in _DET_TICKS]
  axes.set_xticks(ticks, labels, rotation=45)
  axes.set_yticks(ticks, labels)
  axes.set_xlim(least[0], most)
  axes.set_ylim(least[1], most)
  style.clean(axes)


def draw_histogram(axes: Axes, precisions: Curves) -> None:
  """The scores of the same person and of different people."""
  everything = np.concatenate([scores for scores, _ in precisions.values()])
  bins = np.histogram_bin_edges(everything, bins=_BINS)
  for i, (precision, (scores, same)) in enumerate(precisions.items()):
    for which, name in ((True, 'same'), (False, 'different')):
      chosen = np.asarray(scores)[np.asarray(same, bool) == which]
      axes.hist(
        chosen,
        bins,
        # Fractions, not densities: they stay finite on constant scores.
        weights=np.full(len(chosen), 1 / len(chosen)),
        histtype='stepfilled' if i == 0 else 'step',
        alpha=0.25 if i == 0 else 1,
        color=style.COLOURS[0 if which else 1],
        linestyle='-' if i == 0 else style.STYLES[i % len(style.STYLES)],
        linewidth=1.3,
        label=f'{name}, {style.text(precision)}',
      )
  style.clean(axes)


def draw_cmc(axes: Axes, curves: Mapping[str, np.ndarray]) -> None:
  """The share of the probes [R] found by rank 1, 2, ..., by label."""
  lowest = 1.0
  for i, (label, shares) in enumerate(curves.items()):
    ranks = np.arange(1, len(shares) + 1)
    marker = 'o' if len(shares) <= 20 else ''
    axes.plot(
      ranks,
      shares,
      marker=marker,
      markersize=3,
      label=style.text(label),
      **style.line(i),
    )
    lowest = min(lowest, np.min(shares))
  if max(map(len, curves.values())) > 20:
    axes.set_xscale('log')
    axes.xaxis.set_major_formatter('{x:g}')
  else:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  margin = 0.04 * (1 - lowest) or 0.01
  axes.set_ylim(lowest - margin, 1 + margin)
  style.clean(axes)


def draw_open_set(
  axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> None:
  """How often a probe in the gallery is named, over how often another is.

  `curves` are FPIR [T], rising, and TPIR [T], by label.
  """
  rates = np.concatenate([fpir for fpir, _ in curves.values()])
  # A logarithmic axis has no 0.
  lowest = np.min(rates[rates > 0], initial=1.0)
  for i, (label, (fpir, tpir)) in enumerate(curves.items()):
    axes.step(
      np.maximum(fpir, lowest),
      tpir,
      where='post',
      label=style.text(label),
      **style.line(i),
    )
  if lowest < 1:
    axes.set_xscale('log')
    axes.set_xlim(lowest, 1)
  axes.set_ylim(-0.02, 1.02)
  style.clean(axes)


def draw_curves(
  axes: Axes,
  curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
  quantization_starts: Mapping[str, int] | None = None,
) -> None:
  """Curves of one quantity over the steps of a training.

  A curve of 100 points or more is drawn as its running mean over a fiftieth of
  them, above the values themselves in a pale tone.

  Args:
    axes: to draw into.
    curves: by label: steps [T] and values [T].
    quantization_starts: by label, steps that are marked by a line.
  """
  for i, (label, (steps, values)) in enumerate(curves.items()):
    _draw_curve(axes, steps, values, style.text(label), style.line(i))
  for i, (label, step) in enumerate((quantization_starts or {}).items()):
    axes.axvline(
      step,
      color=style.MUTED,
      linestyle=(0, (1 + 2 * i, 1 + i)),
      label=style.text(label),
    )
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  style.clean(axes)


def _draw_curve(axes, steps, values, label, look) -> None:
  steps, values = np.asarray(steps), np.asarray(values, np.float64)
  reach = len(values) // 100
  if reach and np.isfinite(values).all():
    axes.plot(steps, values, color=look['color'], alpha=0.25, linewidth=0.8)
    # The mean of the values around each; it ends where they no longer suffice.
    window = 2 * reach + 1
    values = np.convolve(values, np.full(window, 1 / window), mode='valid')
    steps = steps[reach:-reach]
  # A curve of few points is a list of measurements: mark each.
  marker = 'o' if len(values) <= 30 else ''
  axes.plot(steps, values, marker=marker, markersize=4, label=label, **look)
