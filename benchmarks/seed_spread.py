"""One experiment with several seeds, on one core and on more: its spread.

  python -m benchmarks.seed_spread --workdir=runs/spread --cores=1,2

A training is chaotic: another seed, or another order of sums on another
processor or number of cores, gives another network. So the figure of one run
is a sample. This trains and evaluates an experiment once for each seed and
number of cores, each in a process of its own that is bound to so many cores,
and prints a Markdown table: the accuracies, integer less float of the same run,
minutes, and for each number of cores the means and the standard deviations
(n - 1).

Results that lie in the work folder already are read, not made again; minutes
are those of this call. `--config.NAME=VALUE` goes on to `faceqat.main`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

_ROOT = pathlib.Path(__file__).parents[1]
_COLUMNS = ('float', 'fake_quant', 'integer')


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--config', default='configs/mbv2_int8.py')
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--seeds', type=_numbers, default=[0, 1, 2, 3, 4])
  parser.add_argument(
    '--cores', type=_numbers, default=[len(os.sched_getaffinity(0))]
  )
  overrides = [word for word in sys.argv[1:] if word.startswith('--config.')]
  arguments = parser.parse_args(
    [word for word in sys.argv[1:] if word not in overrides]
  )
  available = sorted(os.sched_getaffinity(0))
  if max(arguments.cores) > len(available):
    parser.error(f'--cores: there are {len(available)}')

  print(f'| cores | seed |{"".join(f" {n} % |" for n in _COLUMNS)}', end='')
  print(' integer - float | minutes |')
  print('|---' * (len(_COLUMNS) + 4) + '|')
  for count in arguments.cores:
    rows = []
    for seed in arguments.seeds:
      folder = arguments.workdir / f'cores_{count}' / f'seed_{seed}'
      command = [
        f'--config={arguments.config}',
        f'--workdir={folder}',
        f'--config.seed={seed}',
        *overrides,
      ]
      minutes = _train(command, folder, available[-count:])
      row = _read(folder / 'results.json')
      rows.append(row)
      _print(count, seed, row, minutes)
    if len(rows) > 1:
      _print(count, 'mean', list(map(statistics.mean, zip(*rows))), '')
      _print(count, 'deviation', list(map(statistics.stdev, zip(*rows))), '')


def _numbers(text: str) -> list[int]:
  return [int(word) for word in text.split(',')]


def _train(command: list[str], folder: pathlib.Path, cores: list[int]) -> str:
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
      subprocess.run(
        [sys.executable, '-m', 'faceqat.main', *command],
        cwd=_ROOT,
        check=True,
        stdout=log,
        stderr=subprocess.STDOUT,
      )
  finally:
    os.sched_setaffinity(0, own)
  return f'{(time.perf_counter() - start) / 60:.1f}'


def _read(path: pathlib.Path) -> list[float]:
  """Accuracies in per cent, and what integers cost in points."""
  results = json.loads(path.read_text())
  values = [100 * results[name]['accuracy'] for name in _COLUMNS]
  return [*values, values[-1] - values[0]]


def _print(cores: int, name: object, row: list[float], minutes: str):
  *values, cost = row
  sign = '' if name == 'deviation' else '+'
  cells = [f'{value:.2f}' for value in values]
  cells += [f'{cost:{sign}.2f}', minutes]
  print(f'| {cores} | {name} | {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
  main()
