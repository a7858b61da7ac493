"""Environment of the tests and of every process that they start.

Test networks take longer to compile than to run, so XLA skips most of its
optimisations. CI runs the files of tight.txt again with all of them.
"""

import os
import pathlib

from faceqat import compilation

ROOT = pathlib.Path(__file__).parents[2]

_DEVICES = '--xla_force_host_platform_device_count'
_QUICK = (
  *compilation.FLAGS,
  '--xla_llvm_disable_expensive_passes=true',
  # One thread for each compilation: the tests already run side by side.
  '--xla_cpu_parallel_codegen_split_count=1',
)


def xla_flags(devices: int = 1) -> str:
  """`XLA_FLAGS` for this number of devices; flags of the caller win."""
  own = [
    flag
    for flag in os.environ.get('XLA_FLAGS', '').split()
    if not flag.startswith(_DEVICES)
  ]
  return compilation.with_flags(_QUICK, [*own, f'{_DEVICES}={devices}'])


def one_device() -> dict[str, str]:
  """The environment of a command: one device, as a user has."""
  return {**os.environ, 'XLA_FLAGS': xla_flags()}
