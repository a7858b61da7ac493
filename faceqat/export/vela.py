"""Compiles TFLite files with Vela, the compiler of Arm's Ethos-U.

Vela is run as a program of its own: what it prints and the file of figures that
it writes are all that is read of it.
"""

import csv
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import NamedTuple

from faceqat.export import extras, tflite_builder

# Names the program, where it is not found beside Python or on PATH.
VARIABLE = 'VELA'
# What Vela makes of the operators that the chip runs.
_NPU_OPERATOR = 'ethos-u'


class Compiled(NamedTuple):
  """A file for one chip, and what Vela says of it.

  Attributes:
    content: of the file.
    system: Vela's name for the clock and the memories that it assumes.
    memory_mode: Vela's name for what lies in which of them.
    sram, dram, flash: bytes used of each.
    cycles: of the chip for an image, as Vela estimates them.
    milliseconds: the same at the clock of `system`.
    left: the operators that the chip does not run, sorted.
  """

  content: bytes
  system: str
  memory_mode: str
  sram: int
  dram: int
  flash: int
  cycles: int
  milliseconds: float
  left: tuple[str, ...]


def find_program() -> str:
  """The path of Vela; raises ImportError where there is none."""
  named = os.environ.get(VARIABLE)
  beside = os.path.dirname(sys.executable)
  found = shutil.which(
    named or 'vela',
    path=None if named else os.pathsep.join([beside, os.environ['PATH']]),
  )
  if found:
    return found
  if named:
    raise ImportError(
      f'{VARIABLE}={named} is no program; name the program `vela` of the '
      'package ethos-u-vela'
    )
  raise ImportError(
    f'Vela is not installed: {extras.how_to_install("ethos-u")}; or install '
    f'ethos-u-vela in another environment and name its program, {VARIABLE}='
    '.../bin/vela'
  )


def compile_file(path: pathlib.Path, chip: str) -> Compiled:
  """Compiles a `.tflite` file.

  Args:
    path: of the file.
    chip: Vela's name for it, such as 'ethos-u55-128'. Clock and memories are
      those that Vela assumes for it.

  Raises:
    ImportError: there is no Vela.
    ValueError: Vela does not take the file.
  """
  program = find_program()
  with tempfile.TemporaryDirectory() as folder:
    ended = subprocess.run(
      [program, path, f'--accelerator-config={chip}', f'--output-dir={folder}'],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      check=False,
    )
    if ended.returncode:
      raise ValueError(
        f'Vela does not compile {path.name} for {chip}: {_reason(ended)}'
      )
    (summary,) = pathlib.Path(folder).glob('*_summary_*.csv')
    (compiled,) = pathlib.Path(folder).glob('*_vela.tflite')
    return _read(summary.read_text(), compiled.read_bytes())


def _reason(ended: subprocess.CompletedProcess) -> str:
  """Why a program failed: the signal that killed it, or its last line."""
  if ended.returncode < 0:
    return f'it was killed by {signal.Signals(-ended.returncode).name}'
  return ended.stdout.strip().rpartition('\n')[2]


def _read(summary: str, content: bytes) -> Compiled:
  """What the table of figures says, which has one row."""
  (row,) = csv.DictReader(summary.splitlines())

  def used(memory: str) -> int:
    return round(1024 * float(row[f'{memory}_memory_used']))

  operators = set(tflite_builder.read_operators(content))
  return Compiled(
    content=content,
    system=row['system_config'],
    memory_mode=row['memory_mode'],
    sram=used('sram'),
    dram=used('dram'),
    flash=used('on_chip_flash') + used('off_chip_flash'),
    cycles=int(row['cycles_total']),
    milliseconds=1e3 * float(row['inference_time']),
    left=tuple(sorted(operators - {_NPU_OPERATOR})),
  )
