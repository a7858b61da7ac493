"""Face recognition that runs in integers: one command for all of it.

  faceqat train --config=mbv2_int8 --workdir=runs/mbv2_int8
  python -m faceqat identify -h

A command is a module, which is imported when it is chosen; faceqat.main is
`train`, and each other one has its own name.
"""

import sys

from faceqat import interruption


def main():
  """Runs the command that the first argument names; without one lists them."""
  interruption.watch()
  try:
    with interruption.by_readers():
      _main(sys.argv[1:])
  except KeyboardInterrupt:
    interruption.leave(interruption.LINE)


def _main(words: list[str]):
  # Once Ctrl-C is quiet.
  import runpy

  from faceqat import subcommands

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
  runpy.run_module(module, run_name='__main__', alter_sys=True)


def _version() -> str:
  import importlib.metadata

  try:
    return importlib.metadata.version('faceqat')
  except importlib.metadata.PackageNotFoundError:
    return 'a checkout that is not installed'


def _overview() -> str:
  from faceqat import subcommands

  program = subcommands.program() or 'faceqat'
  lines = [__doc__.splitlines()[0], '', f'usage: {program} COMMAND [FLAGS]']
  for group, names in subcommands.GROUPS.items():
    lines += ['', f'{group}:']
    lines += [f'  {name:12} {subcommands.summary(name)}' for name in names]
  lines += ['', f'{program} COMMAND -h says what its flags are']
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
