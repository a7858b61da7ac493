"""Measures how far the accuracy of an experiment spreads over seeds and cores.

  python -m benchmarks.seed_spread --workdir=runs/spread --cores=1,2

A training is chaotic: another seed, or another order of sums on another
processor or number of cores, gives another network. So the figure of one run is
a sample. This benchmark trains and evaluates an experiment once for each seed
and number of cores, in a process bound to that many cores.

It prints a Markdown table: the accuracies, integer less float of the same run,
minutes, and for each number of cores the means and the standard deviations
(n - 1). Results that are already in the work folder are read, without minutes.
`--config.NAME=VALUE` is passed on to `faceqat.main`.
"""

import json
import os
import pathlib
import statistics
import sys
import time

from absl import flags
from ml_collections import config_flags

from benchmarks import page_tables, running
from faceqat import command

_COLUMNS = ('float', 'fake_quant', 'integer')


def define_flags():
  config_flags.DEFINE_config_file(
    'config', 'configs/mbv2_int8.py', 'The experiment.'
  )
  flags.DEFINE_string('workdir', None, 'Folder for the runs.')
  flags.DEFINE_list('seeds', '0,1,2,3,4', 'One run each.')
  flags.DEFINE_list(
    'cores', None, 'Numbers of cores; all that there are if not given.'
  )
  flags.mark_flags_as_required(['workdir'])


def main():
  args = flags.FLAGS
  available = sorted(os.sched_getaffinity(0))
  numbers = [int(count) for count in args.cores or [len(available)]]
  if max(numbers) > len(available):
    raise ValueError(
      f'--cores is {max(numbers)}, but there are {len(available)}'
    )
  config = [f'--config={args["config"].config_filename}', *_overrides()]
  titles = [f'{name} %' for name in _COLUMNS]
  page_tables.print_titles(
    ['cores', 'seed', *titles, 'integer - float', 'minutes']
  )
  for count in numbers:
    rows = []
    for seed in map(int, args.seeds):
      folder = pathlib.Path(args.workdir, f'cores_{count}', f'seed_{seed}')
      words = [*config, f'--workdir={folder}', f'--config.seed={seed}']
      minutes = _train(words, folder, available[-count:])
      rows.append(_read(folder / 'results.json'))
      _print(count, seed, rows[-1], minutes)
    if len(rows) > 1:
      _print(count, 'mean', list(map(statistics.mean, zip(*rows))), '')
      _print(count, 'deviation', list(map(statistics.stdev, zip(*rows))), '')


def _overrides() -> list[str]:
  """The words of the command line that set a value of the config."""
  words = [
    word for word in sys.argv[1:] if word.lstrip('-').startswith('config.')
  ]
  for word in words:
    if '=' not in word:
      raise ValueError(f'{word} has no value; give it as {word}=VALUE')
  return words


def _train(words: list[str], folder: pathlib.Path, cores: list[int]) -> str:
  """Runs `faceqat.main` on these cores; returns its minutes."""
  if (folder / 'results.json').exists():
    return ''
  start = time.perf_counter()
  folder.mkdir(parents=True, exist_ok=True)
  own = os.sched_getaffinity(0)
  # The process that is started inherits it.
  os.sched_setaffinity(0, cores)
  try:
    with open(folder / 'log.txt', 'w') as log:
      running.run_module('faceqat.main', *words, log=log)
  finally:
    os.sched_setaffinity(0, own)
  return f'{(time.perf_counter() - start) / 60:.1f}'


def _read(path: pathlib.Path) -> list[float]:
  """Accuracies in per cent, and integer less float in points."""
  results = json.loads(path.read_text())
  values = [100 * results[name]['accuracy'] for name in _COLUMNS]
  return [*values, values[-1] - values[0]]


def _print(cores: int, name: object, row: list[float], minutes: str):
  *values, cost = row
  sign = '' if name == 'deviation' else '+'
  cells = [f'{value:.2f}' for value in values]
  page_tables.print_row([cores, name, *cells, f'{cost:{sign}.2f}', minutes])


if __name__ == '__main__':
  define_flags()
  command.run(main)
