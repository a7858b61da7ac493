"""Computes the quick figures of the README and docs/ again, and compares them.

  python -m benchmarks.check_figures
  python -m benchmarks.check_figures --checks=counts,export

Finds each figure in the tables of the pages by the names of its row and column,
and prints both values. A figure that is the same on every machine must be
equal. One that depends on a processor's sums may differ by the amount printed
beside it. The exit status is 1 if a figure is stale.

  counts   parameters, multiply-adds, bytes in float of every network; seconds
  export   `faceqat.convert` on --run, the run of `make train`; a minute
  linear   `benchmarks.linear_baseline`; minutes
  y1       the pretrained network on LFW, calibrated; ten minutes, with the
           weights and images in --shared
  smoke    `benchmarks.smoke_configs`; a quarter of an hour

Times, and figures that take hours, are not checked.
"""

import functools
import json
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from benchmarks import page_tables, smoke_configs
from benchmarks.running import ROOT, check_names, run_module
from faceqat import command
from faceqat.evaluation.networks import write_float

# Share of a program's bytes: biases and scales take the bits that their range
# needs, which on another processor may be one more for the whole of a layer.
_PACKING = 1e-3
# In points: 3 of 6,000 pairs of LFW, 2 of 600 drawn pairs.
_LFW_PAIRS, _DRAWN_PAIRS = 0.05, 0.34
_LFW_AUC = 1e-4

# The networks that the pages name: config, its form, height of the images.
NETWORKS = {
  'FaceNet NN2': ('facenet_nn2_triplet', '', 112),
  'IR-18 at 56x56': ('ir50_arcface_int8', 'model=ir18', 56),
  'Inception-ResNet-v1 at 112x112': ('inception_resnet_v1_center', '', 112),
  'float y1': ('mobilefacenet_y1_ptq', '', 112),
  'trained in float': ('mbv2_fp32', '', 112),
  'int8 QAT': ('mbv2_int8', '', 112),
}


class Figure(NamedTuple):
  """A figure that was computed again, and where the pages state it.

  Attributes:
    rows: names of cells; a row that states it has all of them.
    column: the title of its column, a regular expression.
    value: in the unit of the page, which states its first digits.
    allowed: how far the stated value may be from it.
    without: names of cells; a row that states it has none of them.
    beside: a regular expression for the title of another column of the table.
  """

  rows: tuple[str, ...]
  column: str
  value: float
  allowed: float = 0.0
  without: tuple[str, ...] = ()
  beside: str = ''


class Verdict(NamedTuple):
  """The value that a page states for a figure, and whether it is stale."""

  page: str
  line: int
  title: str
  stated: str
  printed: str
  allowed: float
  stale: bool


def compare(pages: dict[str, str], figures: list[Figure]) -> list[Verdict]:
  """Finds every place in the pages (text by name) that states a figure."""
  return [
    _judge(name, row, title, figure)
    for name, text in pages.items()
    for row in page_tables.read_rows(text)
    for figure in figures
    if all(row.is_of(word) for word in figure.rows)
    and not any(row.is_of(word) for word in figure.without)
    and any(re.search(figure.beside, other) for other in row.cells)
    for title, cell in row.cells.items()
    if re.fullmatch(figure.column, title)
    and page_tables.number(cell) is not None
  ]


def _judge(page: str, row: page_tables.Row, title: str, figure: Figure):
  cell = page_tables.plain(row.cells[title])
  digits = page_tables.decimals(cell)
  value = round(figure.value, digits)
  apart = abs(page_tables.number(cell) - value)
  return Verdict(
    page,
    row.line,
    f'{", ".join(figure.rows)}: {title}',
    cell,
    f'{value:,.{digits}f}',
    figure.allowed,
    # Half of the last digit, as the value may have been rounded before.
    apart > figure.allowed + 0.5 * 10.0**-digits * (figure.allowed > 0),
  )


def check_counts() -> Iterator[Figure]:
  """The figures of every config and network that follow from its shapes."""
  for name in smoke_configs.find_configs():
    parameters, additions, _ = _measure(name)
    yield Figure((name,), 'parameters', parameters / 1e6, beside='smoke form')
    yield Figure((name,), 'multiply-adds', additions / 1e6, beside='smoke form')
  for title, network in NETWORKS.items():
    parameters, additions, size = _measure(*network)
    yield Figure((title,), 'parameters', parameters)
    yield Figure((title,), 'multiply-adds an image', additions / 1e6)
    for precision in ('float', 'fake_quant'):
      yield Figure((title, precision), 'bytes', size)
    if title == 'float y1':
      yield Figure((title,), 'bytes.*', size)
  size = _measure('mbv2_int8')[2]
  for precision in ('float', 'fake_quant'):
    yield Figure((precision,), 'bytes', size, beside='threshold')


@functools.cache
def _measure(name: str, form: str = '', image_size: int | None = None):
  """Parameters, multiply-adds, bytes of the float file; computes nothing."""
  config = smoke_configs.get_config(name, form)
  config.data.image_size = image_size or config.data.image_size
  *counts, shapes = smoke_configs.count(config)
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'float.safetensors')
    return *counts, write_float(zeros, path)


def check_export() -> Iterator[Figure]:
  """The figures that `convert` prints for the run of `make train`."""
  model = f'--model={flags.FLAGS.run}'
  for name, options in (
    ('int8', ['--contract=tflite_ref']),
    ('int8', ['--contract=xnnpack']),
    ('int4 weights', ['--weights=int4']),
  ):
    with tempfile.TemporaryDirectory() as out:
      printed = run_module('faceqat.convert', model, f'--out={out}', *options)
    for row in page_tables.read_rows(printed):
      yield from exported(name, row)


def exported(name: str, row: page_tables.Row) -> Iterator[Figure]:
  """The figures of a row that `convert` prints."""
  cells = row.cells
  form, contract = cells['format'], cells['contract']
  place = {
    'rows': (form, contract) if name == 'int8' else (name, form, contract),
    'without': ('int4 weights',) if name == 'int8' else (),
    'beside': 'differing',
  }
  size = page_tables.number(cells['bytes'])
  allowed = _PACKING * size if form == 'program' else 0
  # The graphs without a contract have the same name for both contracts.
  titles = (
    ('outputs',) if contract == 'none' else ('outputs', 'differing', 'largest')
  )
  yield Figure(column='bytes', value=size, allowed=allowed, **place)
  for title in titles:
    value = page_tables.number(cells[title])
    yield Figure(column=title, value=value, **place)
  if (name, form) == ('int8', 'program'):
    for precision in ('integer', 'integer_match'):
      yield Figure(
        (precision,), 'bytes', size, _PACKING * size, beside='threshold'
      )


def check_linear() -> Iterator[Figure]:
  """Accuracy and AUC of the linear methods on drawn faces."""
  titles = {
    'pixels': 'raw pixels',
    'LDA on 100 components': 'linear discriminant on 100 principal components',
    'LDA on 300 components': 'on 300',
  }
  printed = run_module('benchmarks.linear_baseline')
  for name, title in titles.items():
    pattern = rf'^{name} +accuracy ([\d.]+) .*AUC ([\d.]+)'
    accuracy, auc = map(float, re.search(pattern, printed, re.M).groups())
    yield Figure((title,), 'accuracy %', accuracy, _DRAWN_PAIRS)
    yield Figure((title,), 'AUC', auc, 0.0005)


def check_y1() -> Iterator[Figure]:
  """The pretrained network in float, and calibrated to 8 bits, on LFW."""
  shared = pathlib.Path(flags.FLAGS.shared)
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder, 'y1_ptq')
    run_module(
      'faceqat.main',
      '--config=configs/mobilefacenet_y1_ptq.py',
      f'--workdir={workdir}',
      f'--config.pretrained={shared}/{_WEIGHTS}',
      f'--config.data.path={shared}/{_FACES}',
      f'--config.eval.path={shared}/{_LFW}/images',
      f'--config.eval.pairs={shared}/{_LFW}/pairs.txt',
    )
    results = json.loads((workdir / 'results.json').read_text())
  for name, precision in (
    ('float y1', 'float'),
    ('y1_ptq', 'integer'),
    ('mobilefacenet_y1_ptq', 'integer'),
    ('least squared error', 'integer'),
  ):
    values = results[precision]
    accuracy = 100 * values['accuracy']
    size = values['bytes']
    yield Figure((name,), 'LFW.*%.*', accuracy, _LFW_PAIRS)
    yield Figure((name,), 'AUC', values['auc'], _LFW_AUC)
    yield Figure((name,), 'bytes.*', size, _PACKING * size, beside='LFW')
    # Of 357 probes.
    yield Figure((name,), 'rank-1 %', 100 * values['rank1'], 0.28)


_WEIGHTS = 'weights/mobilefacenet_y1/model-0000.params'
_FACES, _LFW = 'data/faces_train', 'data/lfw'


def check_smoke() -> Iterator[Figure]:
  """The figures of the smoke forms of all configs, without their seconds."""
  for row in page_tables.read_rows(run_module('benchmarks.smoke_configs')):
    name = page_tables.plain(row.cells['config'])
    for title, cell in list(row.cells.items())[5:]:
      value = page_tables.number(cell)
      if value is not None:
        allowed = _PACKING * value if title == 'bytes' else 0
        yield Figure((name,), title, value, allowed, beside='smoke form')


CHECKS = {
  'counts': check_counts,
  'export': check_export,
  'linear': check_linear,
  'y1': check_y1,
  'smoke': check_smoke,
}
# Of a check: the flag that names a folder, and files there that it reads.
_NEEDED = {'export': ('run', ['']), 'y1': ('shared', [_WEIGHTS, _FACES, _LFW])}


def read_pages() -> dict[str, str]:
  """The README and the pages of docs/, by their paths from the root."""
  paths = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
  return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def main():
  chosen = flags.FLAGS.checks
  check_names('--checks', chosen, CHECKS)
  pages, stale = read_pages(), 0
  for name in chosen:
    flag, files = _NEEDED.get(name, ('run', []))
    needed = [pathlib.Path(flags.FLAGS[flag].value, file) for file in files]
    if missing := [path for path in needed if not path.exists()]:
      print(f'{name}: not checked, as there is no {missing[0]}')
      continue
    print(f'{name}:', flush=True)
    for verdict in compare(pages, list(CHECKS[name]())):
      stale += verdict.stale
      print(line_of(verdict), flush=True)
  if stale:
    sys.exit(f'error: {stale} figures are stale')


def line_of(verdict: Verdict) -> str:
  """The line of the printed table."""
  place = f'{verdict.page}:{verdict.line}'
  allowed = f' within {verdict.allowed:g}' if verdict.allowed else ''
  return (
    f'  {place:22} {verdict.title:50} stated {verdict.stated:24} printed '
    f'{verdict.printed:>12}  {"STALE" if verdict.stale else "same"}{allowed}'
  )


if __name__ == '__main__':
  flags.DEFINE_list('checks', list(CHECKS), 'Which checks to run.')
  flags.DEFINE_string('run', 'runs/mbv2_int8', 'Folder of `make train`.')
  flags.DEFINE_string('shared', '../shared', 'Folder of weights and data.')
  command.run(main)
