"""What the tests run under, and every process that they start.

Here a network takes longer to compile than to run, so XLA does without most of
its optimisations. CI runs the files of tight.txt a second time with all of
them.
"""

import os
import pathlib

from faceqat import compilation

ROOT = pathlib.Path(__file__).parents[2]

_DEVICES = '--xla_force_host_platform_device_count'
_QUICK = (
  *compilation.FLAGS,
  '--xla_llvm_disable_expensive_passes=true',
  # A program's parts would be compiled side by side; so are the tests.
  '--xla_cpu_parallel_codegen_split_count=1',
)


def xla_flags(devices: int = 1) -> str:
  """For so many devices; whoever runs the tests may say how to compile."""
  own = [
    flag
    for flag in os.environ.get('XLA_FLAGS', '').split()
    if not flag.startswith(_DEVICES)
  ]
  return compilation.with_flags(_QUICK, [*own, f'{_DEVICES}={devices}'])


def one_device() -> dict[str, str]:
  """The environment of a command, with one device, as a user has it."""
  return {**os.environ, 'XLA_FLAGS': xla_flags()}
