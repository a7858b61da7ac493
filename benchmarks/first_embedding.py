"""Measures how long it takes until a network has embedded its first image.

  python -m benchmarks.first_embedding y1.safetensors sface_int8

Each is loaded by `faceqat.load` in new processes: as it is, where the first
images run in LiteRT, and compiled at once. The figures are seconds of processor
time, of user and system, from the start of Python on; the least of --rounds.
"""

import os
import resource
import subprocess
import sys

from absl import flags

from benchmarks.running import ROOT
from faceqat import command
from faceqat.report.table import Table

_SCRIPT = """
import sys
import faceqat
from faceqat.export import first_images
first_images.FIRST = int(sys.argv[2])
model = faceqat.load(sys.argv[1])
import numpy as np
model.embed(np.zeros([1, *model.image_size, 3], np.uint8))
"""
_IMPORT = 'import faceqat'


def measure(*arguments: str) -> float:
  """Seconds of processor time that Python takes with these arguments."""
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  subprocess.run(
    [sys.executable, *arguments],
    cwd=ROOT,
    check=True,
    # A program that was compiled before would be read.
    env=os.environ | {'JAX_ENABLE_COMPILATION_CACHE': 'false'},
  )
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_embedding(model: str, first: int) -> float:
  """The seconds, where so many images run in LiteRT."""
  return measure('-c', _SCRIPT, model, str(first))


def define_flags():
  flags.DEFINE_integer('rounds', 3, 'Processes for each.', lower_bound=1)


def main(*models: str):
  rounds = range(flags.FLAGS.rounds)
  nothing = min(measure('-c', '') for _ in rounds)
  imported = min(measure('-c', _IMPORT) for _ in rounds)
  print(f'import faceqat: {imported - nothing:.3f} s')
  rows = [
    [model]
    + [
      f'{min(first_embedding(model, first) for _ in rounds):.2f}'
      for first in (1, 0)
    ]
    for model in models
  ]
  print(Table(['model', 's', 's, compiled at once'], rows))


if __name__ == '__main__':
  define_flags()
  command.run(main, ('MODEL...',))
