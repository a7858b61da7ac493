"""Face recognition that runs in integers: one command for all of it.

  faceqat train --config=mbv2_int8 --workdir=runs/mbv2_int8
  python -m faceqat identify -h

A command is a module, which is imported when it is chosen; faceqat.main is
`train`, and each other one has its own name.
"""

import importlib.metadata
import runpy
import signal
import sys

from faceqat import subcommands


def main():
  """Runs the command that the first argument names; without one lists them."""
  words = sys.argv[1:]
  if not words or words[0] in ('-h', '--help', 'help'):
    print(_overview())
    return
  if words[0] == '--version':
    print(_version())
    return
  try:
    module = subcommands.module_of(words[0])
  except ValueError as error:
    sys.exit(f'error: {error}')
  sys.argv = [module, *words[1:]]
  try:
    runpy.run_module(module, run_name='__main__', alter_sys=True)
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def _version() -> str:
  try:
    return importlib.metadata.version('faceqat')
  except importlib.metadata.PackageNotFoundError:
    return 'a checkout that is not installed'


def _overview() -> str:
  program = subcommands.program() or 'faceqat'
  lines = [__doc__.splitlines()[0], '', f'usage: {program} COMMAND [FLAGS]']
  for group, names in subcommands.GROUPS.items():
    lines += ['', f'{group}:']
    lines += [f'  {name:12} {subcommands.summary(name)}' for name in names]
  lines += ['', f'{program} COMMAND -h says what its flags are']
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
