"""Measures a classifier of many people, on one device and in parts.

  python -m benchmarks.identities

Prints four tables: bytes of a device for up to 100 M people, by XLA's analysis
of the compiled step; a training of 1 M people on 8 simulated devices, beside
that analysis; times of a step; and the largest differences between numbers of
devices. The step is that of a training (ArcFace, SGD with momentum, clipping)
on embeddings that cost nothing. `--tables` chooses some of them, `--small`
makes them small.

  python -m benchmarks.identities --card=100000000

`--card` trains that many people of 128 numbers on one GPU, a tenth of them
sampled in a step, and prints images per second and the peak of its memory.
Before, it prints what the card will hold, by the same analysis; where a device
has less, that is all. It does the same with fewer people on a CPU.

The devices have to be asked for before JAX starts, so each table is made in a
process of its own.
"""

import os
import resource
import subprocess
import sys
import time

from absl import flags

from benchmarks.running import ROOT
from faceqat import command
from faceqat.compilation import with_flags

# Simulated devices of each table.
TABLES = {'bytes': 64, 'resident': 8, 'milliseconds': 1, 'differences': 8}


def main():
  small = ['--small'] if flags.FLAGS.small else []
  if flags.FLAGS.card:
    _run(1, f'--card={flags.FLAGS.card}')
    return
  for name in flags.FLAGS.tables:
    _run(TABLES[name], f'--table={name}', *small)


def _run(devices: int, *words: str):
  """Prints the lines of a table as they come."""
  count = f'--xla_force_host_platform_device_count={devices}'
  own = os.environ.get('XLA_FLAGS', '').split()
  command_line = [sys.executable, '-m', 'benchmarks.identity_tables', *words]
  start, cpu = time.perf_counter(), _cpu_seconds()
  with subprocess.Popen(
    command_line,
    cwd=ROOT,
    env={**os.environ, 'XLA_FLAGS': with_flags([], [*own, count])},
    stdout=subprocess.PIPE,
    text=True,
  ) as process:
    for line in process.stdout:
      print(line, end='', flush=True)
  if process.returncode:
    raise subprocess.CalledProcessError(process.returncode, command_line)
  seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
  print(f'({seconds:.0f} s, {cpu:.0f} s of processors)\n', flush=True)


def _cpu_seconds() -> float:
  """Of the processes that have ended."""
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  return usage.ru_utime + usage.ru_stime


if __name__ == '__main__':
  flags.DEFINE_multi_enum('tables', list(TABLES), list(TABLES), 'Which.')
  flags.DEFINE_bool('small', False, 'Few people, for a test.')
  flags.DEFINE_integer('card', 0, 'People to train on one GPU.', lower_bound=0)
  command.run(main)
