"""Runs a command in a test, in the process of the test."""

import contextlib
import re

from absl import flags

from faceqat import command


def complaints(stderr):
  """The lines of standard error that do not say how far the work is."""
  lines = stderr.splitlines()
  return [
    line for line in lines if not re.search(r'( \.\.\.( \d+ s)?| left)$', line)
  ]


@contextlib.contextmanager
def arguments_of(module, *arguments):
  """Defines a command's flags and reads them; gives what is no flag.

  The flags are forgotten at the end: another command has others of that name.
  """
  known = set(flags.FLAGS)
  module.define_flags()
  try:
    yield command.parse([module.__name__, *map(str, arguments)])[1:]
  finally:
    for name in set(flags.FLAGS) - known:
      delattr(flags.FLAGS, name)


def run(module, *arguments, **values):
  """Runs a command with arguments, and flags by their names."""
  given = [f'--{name}={value}' for name, value in values.items()]
  with arguments_of(module, *arguments, *given) as positional:
    module.main(*positional)
