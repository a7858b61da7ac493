"""The sections of a page about the network, its training and its files."""

import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util
import numpy as np

from faceqat.data import places
from faceqat.files.image_size import height_width
from faceqat.report import layer_plots, plots
from faceqat.report.accuracy_sections import evaluate_command
from faceqat.report.advice import advice
from faceqat.report.blocks import (
  Block,
  Drawing,
  Facts,
  Headlines,
  Missing,
  Section,
  Text,
  TitledTable,
)
from faceqat.report.layer_tables import layers_table
from faceqat.report.panels import drawing
from faceqat.report.results_tables import formats_table
from faceqat.report.run_folder import RunFolder
from faceqat.report.table import Table
from faceqat.training import history

_WORST = 5
_PACKAGES = ('jax', 'flax', 'numpy', 'matplotlib')


def overview_section(run: RunFolder) -> Section:
  """Facts of the network, and its headline numbers."""
  blocks: list[Block] = []
  numbers = _headlines(run)
  if numbers:
    blocks.append(Headlines(numbers))
  if run.config is None:
    blocks.append(
      Missing(
        f'How this network was trained is not known: {run.path} holds no '
        'checkpoints. Give the folder of the training run to see it.'
      )
    )
  facts = [('folder', str(run.path)), *_training_facts(run)]
  if run.scores:
    count = len(run.scores.same)
    facts.append(('evaluated on', f'{count:,} pairs ({run.scores.pairs})'))
  if run.parameters:
    facts.append(('parameters', f'{run.parameters:,}'))
  blocks.append(Facts([*facts, *run.program.items()]))
  return Section('The network', blocks)


def _training_facts(run: RunFolder) -> list[tuple[str, str]]:
  config = run.config
  if config is None:
    return []
  height, width = height_width(config.data.image_size)
  facts = [
    ('network', f'{config.model["name"]}, {height} x {width} pixels'),
    ('loss', config.loss.name),
    ('trained on', places.shown(config.data.path)),
    ('started from', config.get('pretrained')),
    ('steps', f'{run.step:,} of {config.total_steps:,}'),
  ]
  return [(name, value) for name, value in facts if value]


def _headlines(run: RunFolder) -> list[tuple[str, str, str]]:
  numbers = []
  shown = run.precisions or list(run.results)
  if shown and shown[-1] in run.results:
    first, last = shown[0], shown[-1]
    row, base = run.results[last], run.results.get(first, {})
    pairs = f', {run.scores.pairs}' if run.scores else ''
    for name, what, write in (
      ('accuracy', f'accuracy ({last}{pairs})', _percent),
      ('rank1', f'rank 1 ({last})', _percent),
      ('bytes', f'size ({last})', _megabytes),
    ):
      if name in row:
        compared = len(shown) > 1 and name in base
        beside = f'{first} {write(base[name])}' if compared else ''
        numbers.append((write(row[name]), what, beside))
  held = {k: v for k, v in run.exactness.items() if v['contract']}
  if held:
    differing = sum(row['differing'] for row in held.values())
    outputs = sum(row['outputs'] for row in held.values())
    numbers.append(
      (
        f'{differing:,} of {outputs:,}',
        f'embedding integers differ in {", ".join(held)}',
        f'contract {next(iter(held.values()))["contract"]}',
      )
    )
  return numbers


def training_blocks(runs: Sequence[RunFolder]) -> list[Block]:
  """Curves of one training, or of several together."""
  blocks: list[Block] = []
  panels: dict[str, dict[str, Any]] = {}
  for name in history.CURVES:
    part, _, quantity = name.rpartition('/')
    for run in runs:
      if name in run.curves:
        label = part if len(runs) == 1 else f'{run.label}, {part}'
        panels.setdefault(quantity, {})[label] = run.curves[name]
  starts = {
    'quantization starts'
    if len(runs) == 1
    else f'{run.label}, quantized': run.quantization_start
    for run in runs
    if run.quantization_start is not None and run.curves
  }
  marked = ', '.join(f'step {step:,}' for step in starts.values())
  caption = f'Upright line: quantization starts ({marked}).' if starts else ''
  for quantity, curves in panels.items():
    title = quantity.replace('_', ' ').capitalize()
    blocks.append(
      drawing(title, caption, plots.draw_curves, curves, starts, x='step')
    )
  for run in runs:
    if not run.curves:
      path = shlex.quote(str(run.path))
      blocks.append(
        Missing(
          f'{run.path} has no metrics.jsonl, and so no curves of a training: '
          'give the folder of the training run itself.',
          f'python -m faceqat.main --config=CONFIG --workdir={path}',
        )
      )
  return blocks


def layers_section(run: RunFolder) -> Section:
  """The cost of quantization by layer; the worst ones by name."""
  title = 'Layer by layer'
  if run.agreement is None:
    missing = Missing(
      f'The layers were not compared ({run.path}/agreement.json): a network in '
      'float alone has no integers, and older evaluations did not write it.',
      evaluate_command(run),
    )
    return Section(title, [missing])
  found = run.agreement
  rows = found['layers']
  worst = layer_plots.worst_layers(rows, _WORST)
  numbered = [
    {**rows[i], 'name': f'{n}. {rows[i]["name"]}'}
    for n, i in enumerate(worst, 1)
  ]
  return Section(
    title,
    [
      Text(
        f'Float against integer on {found["images"]} images: the cosine of '
        f'their embeddings is {found["cosine_mean"]:.4f} in the mean and '
        f'{found["cosine_p1"]:.4f} at the first percentile.'
      ),
      *_layer_drawings(rows, worst),
      Text('What to try at the layers that lose most:'),
      Facts([(rows[i]['name'], advice(rows[i])) for i in worst]),
      TitledTable('The layers that lose most', layers_table(numbered)),
      TitledTable(f'All {len(rows)} layers', layers_table(rows), folded=True),
    ],
  )


def _layer_drawings(
  rows: Sequence[Mapping[str, Any]], worst: Sequence[int]
) -> list[Drawing]:
  """Noise and ranges of all layers, in the order they run."""
  names = ', '.join(rows[i]['name'] for i in worst)
  order = 'layer, in the order they run'
  noise = drawing(
    'Signal to quantization noise',
    f'Ringed: the layers that lose most to their inputs ({names}).',
    layer_plots.draw_sqnr,
    rows,
    worst,
    x=order,
    y='SQNR, dB',
    wide=True,
  )
  ranges = drawing(
    'Ranges',
    'A line that leaves its bar is clipped; a bar much longer than its line '
    'wastes integers. The axis is linear near 0 and logarithmic beyond.',
    layer_plots.draw_ranges,
    rows,
    x=order,
    y='value',
    wide=True,
  )
  return [noise, ranges]


def sizes_section(run: RunFolder) -> Section:
  """Bytes, measured speeds, and whether exported files give the same bits."""
  speeds = _speeds(run.curves)
  measured = [Facts(speeds)] if speeds else []
  blocks = [_file_sizes(run), *measured, _exported_files(run)]
  return Section('Sizes, speeds and exactness', blocks)


def _file_sizes(run: RunFolder) -> Block:
  files = {
    'float.safetensors': run.results.get('float', {}).get('bytes'),
    'program.safetensors': run.results.get('integer', {}).get('bytes'),
  }
  files = {name: size for name, size in files.items() if size}
  if not files:
    return Missing('No file was measured.', evaluate_command(run))
  largest = max(files.values())
  rows = [
    [name, f'{size:,.0f}', f'{largest / size:.2f}']
    for name, size in files.items()
  ]
  return TitledTable('Files', Table(['file', 'bytes', 'times smaller'], rows))


def _speeds(curves: Mapping[str, Any]) -> list[tuple[str, str]]:
  facts = []
  if 'train/images_per_second' in curves:
    speeds = curves['train/images_per_second'][1]
    low, middle, high = np.nanpercentile(speeds, [10, 50, 90])
    speed = (
      f'{middle:,.0f} images/s in the median; 80 % of the logged steps between '
      f'{low:,.0f} and {high:,.0f}'
    )
    facts.append(('training', speed))
  if 'time' in curves:
    times = curves['time'][1]
    facts.append(('logged', f'{_date(times.min())} to {_date(times.max())}'))
  return facts


def _exported_files(run: RunFolder) -> Block:
  if run.exactness:
    note = (
      f'{run.export}: the embeddings of each file in its own runtime against '
      "the evaluator's, on the machine that exported them, one image at a "
      'time. Under a contract no integer may differ.'
    )
    return TitledTable('Exported files', formats_table(run.exactness, [note]))
  checkpoint = run.path if run.step is not None else pathlib.Path('RUN')
  out = shlex.quote(str(run.path / 'export'))
  return Missing(
    f'No export with its comparison (exactness.json) is in {run.path}.',
    f'python -m faceqat.convert --model={shlex.quote(str(checkpoint))}'
    f' --out={out}',
  )


def config_section(run: RunFolder) -> Section:
  """Every field of the config."""
  if run.config is None:
    return Section(
      'Config', [Missing(f'{run.path} holds no checkpoint with its config.')]
    )
  flat = flax.traverse_util.flatten_dict(
    run.config.to_dict(), keep_empty_nodes=True, sep='.'
  )
  empty = flax.traverse_util.empty_node
  rows = [
    [name, '{}' if value is empty else _shortened(repr(value))]
    for name, value in sorted(flat.items())
  ]
  title = f'The config of step {run.step:,}'
  table = Table(['field', 'value'], rows)
  return Section('Config', [TitledTable(title, table, folded=True)])


def made_with() -> dict[str, str]:
  """The date, and what makes this page: versions, and the commit if known."""
  versions = {'made': _date(time.time())}
  root = pathlib.Path(__file__).parents[2]
  # Installed, it may lie in somebody else's repository.
  if (root / '.git').exists():
    try:
      described = subprocess.run(
        ['git', '-C', str(root), 'describe', '--always', '--dirty'],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
      )
      versions['faceqat'] = f'commit {described.stdout.strip()}'
    except (OSError, subprocess.SubprocessError):
      # Without git, or not trusted by it: the page does without.
      pass
  for name in _PACKAGES:
    versions[name] = importlib.metadata.version(name)
  return {**versions, 'Python': platform.python_version()}


def _shortened(text: str) -> str:
  """Of a list of people, the first."""
  return text if len(text) <= 200 else f'{text[:200]} ...'


def _percent(share: float) -> str:
  return f'{100 * share:.2f} %'


def _megabytes(size: float) -> str:
  return f'{size / 1e6:.2f} MB'


def _date(seconds: float) -> str:
  return time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(seconds))
