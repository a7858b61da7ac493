"""One HTML page of a run, or of several: everything it shows is in it.

The page needs no network, no script and no other file. A content security
policy in it says so, and browsers hold it to that.
"""

import itertools
import pathlib
from collections.abc import Mapping, Sequence

import jinja2
import numpy as np

from faceqat.files import atomic
from faceqat.report import accuracy_sections as accuracy
from faceqat.report import network_sections as network
from faceqat.report import svg
from faceqat.report.blocks import (
  Block,
  Drawing,
  Missing,
  Section,
  Text,
  TitledTable,
)
from faceqat.report.results_tables import results_table
from faceqat.report.run_folder import RunFolder, read_run


def write_report(
  workdirs: Sequence[str],
  out: str | None = None,
  exports: Sequence[str] | None = None,
) -> pathlib.Path:
  """Reads runs and writes their page.

  Args:
    workdirs: folders of runs.
    out: the file to write; None: `report.html` in the folder of the only run.
    exports: folders that `faceqat.convert` wrote, one for each run; None: each
      is looked for in its run's folder.

  Raises:
    ValueError: several runs without `out`, the same twice, not as many
      exports, or a folder that is not that of a run or has a damaged file.
  """
  folders = [pathlib.Path(name).resolve() for name in workdirs]
  if len(set(folders)) < len(folders):
    raise ValueError('a WORKDIR is given twice; give each once')
  if out is None and len(folders) > 1:
    raise ValueError(
      f'{len(folders)} runs go on one page; give --out=comparison.html'
    )
  if exports is not None and len(exports) != len(folders):
    raise ValueError(
      f'--export is given {len(exports)} times, but there are {len(folders)} '
      'runs; give it once for each, in their order'
    )
  names = [folder.name for folder in folders]
  labels = workdirs if len(set(names)) < len(names) else names
  exports = exports or [None] * len(workdirs)
  runs = list(map(read_run, workdirs, labels, exports))
  path = pathlib.Path(out) if out else pathlib.Path(workdirs[0]) / 'report.html'
  page = make_page(runs, network.made_with())
  atomic.write(path, page.encode('utf-8', 'replace'))
  return path


def make_page(runs: Sequence[RunFolder], made_with: Mapping[str, str]) -> str:
  """The HTML; several runs are compared first, and their text is escaped."""
  parts = [(run, _sections(run)) for run in runs]
  compared = [comparison_section(runs)] if len(runs) > 1 else []
  prefixes = (f'd{number}-' for number in itertools.count(1))

  def draw(drawing: Drawing) -> str:
    label = f'{drawing.title}. {drawing.caption}'
    return svg.to_svg(drawing.figure, next(prefixes), label)

  templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / 'templates'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return templates.get_template('page.html').render(
    title=', '.join(run.label for run in runs),
    compared=compared,
    parts=parts,
    made_with=made_with,
    draw=draw,
  )


def comparison_section(runs: Sequence[RunFolder]) -> Section:
  """Several runs beside each other, each in its last precision."""
  blocks: list[Block] = []
  rows, pairs = {}, []
  for run in runs:
    precision = (run.precisions or list(run.results) or [''])[-1]
    rows[f'{run.label}, {precision}'] = run.results.get(precision, {})
    if run.scores:
      pairs.append((run, precision))
  if any(rows.values()):
    # A difference of accuracies says nothing of runs on other pairs.
    comparable = len(pairs) == len(runs) and _same_pairs(runs)
    table = results_table(rows, name='run', differences=comparable)
    blocks.append(TitledTable('What ships of each run', table))
  if len(pairs) > 1:
    first, _ = pairs[0]
    blocks += accuracy.differences([(first, first.precisions[0]), *pairs])
    if _same_pairs([run for run, _ in pairs]):
      curves = {
        f'{run.label}, {precision}': (
          run.scores.cosines[precision],
          run.scores.same,
        )
        for run, precision in pairs
      }
      blocks += accuracy.score_drawings(curves, first.scores.pairs)
  else:
    blocks.append(
      Missing(
        'Fewer than two of these runs have scores: evaluate each.',
        '\n'.join(accuracy.evaluate_command(run) for run in runs),
      )
    )
  trained = [run for run in runs if run.curves]
  if trained:
    blocks.append(Text('The trainings together:'))
    blocks += network.training_blocks(trained)
  return Section('Comparison', blocks)


def _sections(run: RunFolder) -> list[Section]:
  return [
    network.overview_section(run),
    Section('Training', network.training_blocks([run])),
    accuracy.verification_section(run),
    accuracy.identification_section(run),
    accuracy.hardest_section(run),
    network.layers_section(run),
    network.sizes_section(run),
    network.config_section(run),
  ]


def _same_pairs(runs: Sequence[RunFolder]) -> bool:
  first = runs[0].scores
  return all(
    run.scores.pairs == first.pairs
    and np.array_equal(run.scores.same, first.same)
    and np.array_equal(run.scores.images, first.images)
    for run in runs
  )
