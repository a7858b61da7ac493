"""The sections of a page that say how well a network tells people apart."""

import base64
import io
import pathlib
import shlex
from collections.abc import Mapping

import numpy as np
from PIL import Image

from faceqat.report import comparison, plots, style
from faceqat.report.blocks import (
  Block,
  Drawing,
  Gallery,
  Missing,
  Picture,
  Section,
  Text,
  TitledTable,
)
from faceqat.report.comparison import Evaluation
from faceqat.report.hardest import Hardest
from faceqat.report.results_tables import results_table
from faceqat.report.run_folder import RunFolder

_GREY = 'Grey: fewer than ten errors, where a rate is mostly noise.'


def evaluate_command(run: RunFolder) -> str:
  """What writes all that an evaluation leaves."""
  return f'python -m faceqat.evaluate --model={shlex.quote(str(run.path))}'


def verification(run: RunFolder) -> Section:
  """Accuracies, what quantization costs, ROC, DET and scores."""
  blocks: list[Block] = []
  if run.results:
    pairs = f' on {run.scores.pairs}' if run.scores else ''
    blocks.append(TitledTable(f'Results{pairs}', results_table(run.results)))
  for name, results in run.benchmarks.items():
    if results:
      blocks.append(TitledTable(f'Results on {name}', results_table(results)))
  if not run.scores:
    blocks.append(
      Missing(
        f'There are no scores ({run.path}/scores.safetensors), and so no '
        'curves.',
        evaluate_command(run),
      )
    )
    return Section('Verification', blocks)
  precisions = {name: run.scores.cosines[name] for name in run.precisions}
  if len(precisions) > 1:
    first, *others = run.precisions
    blocks += differences([(run, first), *((run, name) for name in others)])
  curves = {
    name: (scores, run.scores.same) for name, scores in precisions.items()
  }
  blocks += score_drawings(curves, run.scores.pairs)
  return Section('Verification', blocks)


def differences(evaluations: list[tuple[RunFolder, str]]) -> list[Block]:
  """Precisions against the first one, with intervals over people.

  Args:
    evaluations: run and precision.
  """
  first, *others = (
    Evaluation(
      pathlib.Path(run.label),
      precision,
      run.scores,
      run.results.get(precision, {}),
    )
    for run, precision in evaluations
  )
  try:
    table = comparison.compare(first, others)
  except ValueError as error:
    return [Missing(f'These runs cannot be compared: {error}')]
  title = f'Differences to {first.run}, {first.precision}, in points'
  return [TitledTable(title, table)]


def score_drawings(precisions: plots.Curves, pairs: str) -> list[Block]:
  """ROC, DET and histogram of the same pairs; none where a curve needs both
  kinds of pairs and there is one."""
  try:
    plots.check(precisions)
  except ValueError as error:
    return [Missing(str(error))]
  same = next(iter(precisions.values()))[1]
  counts = (
    f'{len(same):,} pairs of {pairs}, {np.sum(~same):,} of them of different '
    'people.'
  )
  drawings = []
  figure, axes = style.panel()
  plots.draw_roc(axes, precisions)
  style.percent_ticks(axes.xaxis)
  style.percent_ticks(axes.yaxis)
  axes.set_xlabel('false accept rate')
  axes.set_ylabel('true accept rate')
  style.legend_below(figure)
  drawings.append(Drawing('ROC', figure, f'{counts} Higher is better. {_GREY}'))
  figure, axes = style.panel()
  plots.draw_det(axes, precisions)
  axes.set_xlabel('false match rate')
  axes.set_ylabel('false non-match rate')
  style.legend_below(figure, 3)
  drawings.append(
    Drawing(
      'DET',
      figure,
      'Both axes are probits: normal scores give straight lines. Lower is '
      f'better; on the thin line both rates are equal (EER). {_GREY}',
    )
  )
  figure, axes = style.panel()
  plots.draw_histogram(axes, precisions)
  axes.set_xlabel('score (cosine)')
  axes.set_ylabel('fraction of the pairs')
  style.legend_below(figure)
  drawings.append(
    Drawing(
      'Scores',
      figure,
      'The less the scores of the same person and of different people overlap, '
      'the better.',
    )
  )
  return drawings


def identification(run: RunFolder) -> Section:
  """Ranks in a closed set, and errors in an open one."""
  title = 'Identification'
  found = run.identification
  if not found:
    # A folder of an evaluation alone does not say, nor does an older run.
    data = run.config.data if run.config else {}
    kept_out = data.get('validation_people') != 0
    return Section(
      title,
      [
        Missing(
          'There are no curves of identification '
          f'({run.path}/identification.safetensors). They need people who were '
          'kept out of training (data.validation_people, '
          'eval.identification_images)'
          + ('.' if kept_out else ', and this run has none.'),
          evaluate_command(run) if kept_out else '',
        )
      ],
    )
  blocks: list[Block] = []
  closed = _by_precision(found, 'cmc')
  if closed:
    figure, axes = style.panel()
    plots.draw_cmc(axes, closed)
    style.percent_ticks(axes.yaxis)
    axes.set_xlabel('rank')
    axes.set_ylabel('probes whose person is found')
    style.legend_below(figure, 3)
    blocks.append(
      Drawing(
        'CMC, closed set',
        figure,
        'How often the right person is among so many of the best answers.',
      )
    )
  fpir, tpir = _by_precision(found, 'fpir'), _by_precision(found, 'tpir')
  open_set = {name: (fpir[name], tpir[name]) for name in fpir if name in tpir}
  if open_set:
    figure, axes = style.panel()
    plots.draw_open_set(axes, open_set)
    style.percent_ticks(axes.xaxis)
    style.percent_ticks(axes.yaxis)
    axes.set_xlabel('FPIR: strangers who are named')
    axes.set_ylabel('TPIR: people named rightly')
    style.legend_below(figure, 3)
    blocks.append(
      Drawing(
        'Open set',
        figure,
        'Some probes show people who are not in the gallery. A person is named '
        'where the best answer is right and its score is over the threshold.',
      )
    )
  return Section(title, blocks)


def _by_precision(
  arrays: Mapping[str, np.ndarray], kind: str
) -> dict[str, np.ndarray]:
  """Of the arrays `kind/<precision>`, in the order of an evaluation."""
  order = ('float', 'fake_quant', 'integer')
  found = {
    name.removeprefix(f'{kind}/'): array
    for name, array in arrays.items()
    if name.startswith(f'{kind}/') and array.ndim == 1 and len(array)
  }
  known = [name for name in order if name in found]
  return {name: found[name] for name in [*known, *sorted(found.keys() - order)]}


def hardest_pairs(run: RunFolder) -> Section:
  """The pairs that are most likely decided wrongly, as pictures."""
  title = 'Hardest pairs'
  hardest = run.hardest
  if hardest is None:
    missing = Missing(
      'There are no pictures of the hardest pairs '
      f'({run.path}/hardest.safetensors).',
      evaluate_command(run),
    )
    return Section(title, [missing])
  blocks: list[Block] = []
  threshold = run.results.get(hardest.precision, {}).get('threshold')
  if threshold is not None:
    blocks.append(
      Text(
        f'Scores of {hardest.precision}, whose threshold is {threshold:.3f} '
        '(mean over the folds): a pair counts as the same person from there on.'
      )
    )
  kinds = (
    (False, 'Different people, highest scores (false matches)'),
    (True, 'Same person, lowest scores (false non-matches)'),
  )
  for same, name in kinds:
    chosen = np.flatnonzero(hardest.same == same)
    pictures = [_picture(hardest, i) for i in chosen]
    if pictures:
      blocks.append(Gallery(name, pictures))
  return Section(title, blocks)


def _picture(hardest: Hardest, i: int) -> Picture:
  first, second = hardest.images[i]
  gap = np.full([first.shape[0], 4, 3], 255, np.uint8)
  both = np.concatenate([first, gap, second], axis=1)
  content = io.BytesIO()
  Image.fromarray(both).save(content, 'JPEG', quality=88)
  encoded = base64.b64encode(content.getvalue()).decode()
  people = 'the same person' if hardest.same[i] else 'different people'
  return Picture(
    source=f'data:image/jpeg;base64,{encoded}',
    width=both.shape[1],
    height=both.shape[0],
    alternative=f'Two photographs of {people}',
    caption=f'{hardest.score[i]:.3f} (pair {hardest.pair[i]})',
  )
