"""The commands of `faceqat`, and how they were called."""

import ast
import difflib
import pathlib
import re
import sys

# By what one does with them: the name, and the module that is run.
GROUPS = {
  'from photographs to people': {
    'prepare': 'faceqat.prepare',
    'identify': 'faceqat.identify',
    'verify': 'faceqat.verify',
    'embed': 'faceqat.embed',
  },
  'from people to a network in integers': {
    'train': 'faceqat.main',
    'evaluate': 'faceqat.evaluate',
    'compare': 'faceqat.compare',
    'report': 'faceqat.report',
    'assign-bits': 'faceqat.assign_bits',
    'compress': 'faceqat.compress',
    'convert': 'faceqat.convert',
  },
  'about this machine': {'doctor': 'faceqat.doctor'},
}
COMMANDS = {
  name: module for group in GROUPS.values() for name, module in group.items()
}


def module_of(name: str) -> str:
  """The module of a command.

  Raises:
    ValueError: there is no such command; it names the nearest.
  """
  if name not in COMMANDS:
    near = difflib.get_close_matches(name.replace('_', '-'), COMMANDS, 1)
    raise ValueError(
      f'there is no command {name!r}; '
      + (f'did you mean {near[0]}?' if near else 'faceqat -h lists them all')
    )
  return COMMANDS[name]


def summary(name: str) -> str:
  """The first line of a command's documentation, without importing it."""
  path = pathlib.Path(__file__).parent.joinpath(*COMMANDS[name].split('.')[1:])
  source = path / '__main__.py' if path.is_dir() else path.with_suffix('.py')
  return ast.get_docstring(ast.parse(source.read_text())).splitlines()[0]


def program() -> str:
  """How `faceqat` was called; '' where a module of it was, by `python -m`."""
  _, *words = sys.orig_argv
  # Options of Python itself.
  while words and words[0].startswith('-') and words[0] != '-m':
    del words[0]
  if words[:2] == ['-m', 'faceqat']:
    return 'python -m faceqat'
  return 'faceqat' if words and pathlib.Path(words[0]).stem == 'faceqat' else ''


def as_called(text: str) -> str:
  """A text with its commands as the user calls them.

  The documentation has modules, which run everywhere.
  """
  if not program():
    return text
  names = {module: name for name, module in COMMANDS.items()}

  def called(match: re.Match) -> str:
    name = names.get(match[1])
    return f'{program()} {name}' if name else match[0]

  text = re.sub(r'python -m (faceqat\.\w+)', called, text)
  return re.sub(r'--config=configs/(\w+)\.py', r'--config=\1', text)
