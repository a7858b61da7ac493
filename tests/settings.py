"""What the tests were told to run under, for every process that they start."""

import os

_DEVICES = '--xla_force_host_platform_device_count'


def xla_flags(*flags: str, devices: int = 1) -> str:
  """These flags, then those of whoever runs the tests, which win.

  The number of devices is the process's own: pytest has eight.
  """
  own = os.environ.get('XLA_FLAGS', '').split()
  own = [flag for flag in own if not flag.startswith(_DEVICES)]
  return ' '.join([*flags, *own, f'{_DEVICES}={devices}'])
