"""The sections of a page on verification and identification."""

import base64
import io
import pathlib
import shlex
from collections.abc import Mapping

import numpy as np
from PIL import Image

from faceqat.evaluators import PRECISIONS
from faceqat.evaluators.identification_rates import FILE_NAME as CURVES_FILE
from faceqat.report import comparison, plots
from faceqat.report.blocks import (
  Block,
  Drawing,
  Missing,
  Picture,
  PictureRow,
  Section,
  Text,
  TitledTable,
)
from faceqat.report.comparison import Evaluation
from faceqat.report.hardest import Hardest, side_by_side
from faceqat.report.panels import drawing
from faceqat.report.results_tables import (
  groups_table,
  rates_table,
  results_table,
)
from faceqat.report.run_folder import RunFolder

_GREY = 'Grey: fewer than ten errors, where a rate is mostly noise.'


def evaluate_command(run: RunFolder) -> str:
  """The command that writes all files of an evaluation."""
  return f'python -m faceqat.evaluate --model={shlex.quote(str(run.path))}'


def verification_section(run: RunFolder) -> Section:
  """Accuracies, what quantization costs, ROC, DET and scores."""
  blocks: list[Block] = []
  if run.results:
    pairs = f' on {run.scores.pairs}' if run.scores else ''
    blocks.append(TitledTable(f'Results{pairs}', results_table(run.results)))
  for name, results in run.benchmarks.items():
    if results:
      blocks.append(TitledTable(f'Results on {name}', results_table(results)))
  for precision, table in run.rates.items():
    title = f'From score to false-match rate, {precision}'
    blocks.append(TitledTable(title, rates_table(table)))
  if run.groups:
    blocks.append(TitledTable('Errors by group', groups_table(run.groups)))
  if not run.scores:
    what = (
      f'There are no scores ({run.path}/scores.safetensors), and so no curves.'
    )
    blocks.append(Missing(what, evaluate_command(run)))
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
    table = comparison.compare_evaluations(first, others)
  except ValueError as error:
    return [Missing(f'These runs cannot be compared: {error}')]
  title = f'Differences to {first.run}, {first.precision}, in points'
  return [TitledTable(title, table)]


def score_drawings(precisions: plots.Curves, pairs: str) -> list[Block]:
  """ROC, DET and histogram; a note where all pairs are of one kind."""
  try:
    plots.check(precisions)
  except ValueError as error:
    return [Missing(str(error))]
  same = next(iter(precisions.values()))[1]
  counts = (
    f'{len(same):,} pairs ({pairs}), {np.sum(~same):,} of them of different '
    'people.'
  )
  return [
    drawing(
      'ROC',
      f'{counts} Higher is better. {_GREY}',
      plots.draw_roc,
      precisions,
      x='false accept rate',
      y='true accept rate',
      percent='xy',
    ),
    drawing(
      'DET',
      'Both axes are probits: normal scores give straight lines. Lower is '
      f'better; on the thin line both rates are equal (EER). {_GREY}',
      plots.draw_det,
      precisions,
      x='false match rate',
      y='false non-match rate',
      columns=3,
    ),
    drawing(
      'Scores',
      'The less the scores of the same person and of different people overlap, '
      'the better.',
      plots.draw_histogram,
      precisions,
      x='score (cosine)',
      y='fraction of the pairs',
    ),
  ]


def identification_section(run: RunFolder) -> Section:
  """Ranks in a closed set, and errors in an open one."""
  found = run.identification_curves
  blocks = _identification_drawings(found) if found else [_no_people(run)]
  return Section('Identification', blocks)


def _no_people(run: RunFolder) -> Missing:
  # A folder of an evaluation alone does not say, nor does an older run.
  data = run.config.data if run.config else {}
  kept_out = data.get('validation_people') != 0
  return Missing(
    f'There are no curves of identification ({run.path}/{CURVES_FILE}). They '
    'need people who were kept out of training (data.validation_people, '
    'eval.identification_images)'
    + ('.' if kept_out else ', and this run has none.'),
    evaluate_command(run) if kept_out else '',
  )


def _identification_drawings(found: Mapping[str, np.ndarray]) -> list[Drawing]:
  drawings = []
  closed = _by_precision(found, 'cmc')
  if closed:
    drawings.append(
      drawing(
        'CMC, closed set',
        'How often the right person is among so many of the best answers.',
        plots.draw_cmc,
        closed,
        x='rank',
        y='probes whose person is found',
        percent='y',
        columns=3,
      )
    )
  fpir, tpir = _by_precision(found, 'fpir'), _by_precision(found, 'tpir')
  open_set = {name: (fpir[name], tpir[name]) for name in fpir if name in tpir}
  if open_set:
    drawings.append(
      drawing(
        'Open set',
        'Some probes show people who are not in the gallery. A person is named '
        'where the best answer is right and its score is over the threshold.',
        plots.draw_open_set,
        open_set,
        x='FPIR: strangers who are named',
        y='TPIR: people named rightly',
        percent='xy',
        columns=3,
      )
    )
  return drawings


def _by_precision(
  arrays: Mapping[str, np.ndarray], kind: str
) -> dict[str, np.ndarray]:
  """Of the arrays `kind/<precision>`, in the order of an evaluation."""
  found = {
    name.removeprefix(f'{kind}/'): array
    for name, array in arrays.items()
    if name.startswith(f'{kind}/') and array.ndim == 1 and len(array)
  }
  known = [name for name in PRECISIONS if name in found]
  others = sorted(found.keys() - PRECISIONS)
  return {name: found[name] for name in [*known, *others]}


def hardest_section(run: RunFolder) -> Section:
  """The pairs that are most likely decided wrongly, as pictures."""
  title = 'Hardest pairs'
  hardest = run.hardest
  if hardest is None:
    what = (
      'There are no pictures of the hardest pairs '
      f'({run.path}/hardest.safetensors).'
    )
    return Section(title, [Missing(what, evaluate_command(run))])
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
      blocks.append(PictureRow(name, pictures))
  return Section(title, blocks)


def _picture(hardest: Hardest, i: int) -> Picture:
  both = side_by_side(*hardest.images[i])
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
