"""What a command prints for -h: what it does, examples, flags, statuses."""

import re
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from absl import flags
from rich.console import Console

from faceqat import config_files, subcommands

_WIDTH = 80
# What a value looks like.
_KINDS = {'int': 'N', 'float': 'X', 'size': 'H,W', 'config object': 'NAME'}


class _Console(Console):
  """Leaves it to the command how it ends where nobody reads on."""

  def on_broken_pipe(self):
    raise


def show(
  needed: Sequence[str], positional: Sequence[str], statuses: Mapping[int, str]
):
  """Prints the help of the command that runs, once its flags are parsed.

  Args:
    needed: flags that have to be given.
    positional: names of the arguments that are no flags.
    statuses: what its exit statuses mean.
  """
  # It styles nothing where there is no terminal, or where NO_COLOR is set.
  console = _Console(highlight=False)
  for title, text in (
    *_about(sys.modules['__main__'].__doc__ or ''),
    ('arguments', f'  {" ".join(positional)}' if positional else ''),
    *_flags(needed),
    *_config('config' in needed),
    ('exit status', '\n'.join(f'  {s:<4}{t}' for s, t in statuses.items())),
  ):
    if text and title:
      console.print(f'\n{title}:', style='bold', markup=False)
    if text:
      console.print(text, markup=False, soft_wrap=True)


def _about(documentation: str) -> Iterator[tuple[str, str]]:
  """What it is, its examples, and more about it."""
  first, *paragraphs = documentation.strip('\n').split('\n\n')
  yield '', first
  examples = [each for each in paragraphs if each.startswith('  python -m ')]
  yield (
    'examples',
    '\n'.join(map(_example, '\n'.join(examples).splitlines())),
  )
  for paragraph in paragraphs:
    if paragraph not in examples:
      yield '', f'\n{subcommands.as_called(paragraph)}'


def _example(line: str) -> str:
  """A command on lines that a shell can read."""
  lines = textwrap.wrap(
    subcommands.as_called(' '.join(line.split())),
    _WIDTH - 4,
    subsequent_indent='    ',
    break_long_words=False,
    break_on_hyphens=False,
  )
  return '  ' + ' \\\n  '.join(lines)


def _flags(needed: Sequence[str]) -> Iterator[tuple[str, str]]:
  own = [
    flag
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    if not (flag.help or '').startswith('Alias for')
  ]
  groups = {'flags that have to be given': [], 'flags': []}
  for flag in own:
    title = 'flags that have to be given' if flag.name in needed else 'flags'
    groups.setdefault(getattr(flag, 'group', title), []).append(flag)
  for title, group in groups.items():
    yield title, '\n'.join(map(_flag, group))
  yield (
    'flags of every command',
    f'{_flag(flags.FLAGS["quiet"])}\n'
    f'{_flag(flags.FLAGS["compilation_cache"])}\n'
    '  --verbosity=1\n      Show where an error was raised.',
  )


def _flag(flag: flags.Flag) -> str:
  if flag.boolean:
    name = f'--[no]{flag.name}'
  else:
    choices = getattr(flag.parser, 'enum_values', None)
    kind = '|'.join(choices or [_KINDS.get(flag.flag_type(), 'TEXT')])
    name = f'--{flag.name}={kind}'
  # Without what absl adds: the choices, and that it may be given again.
  text = re.sub(r'^<.*?>: |;\s+repeat this .*', '', flag.help or '', flags=re.S)
  text = ' '.join(text.split())
  # It is quoted text, 'None' for an absent config.
  default = (flag.default_as_str or '').strip("'")
  if default not in ('', 'None', 'false'):
    text += f' (default: {default})'
  return f'  {name}\n{_wrapped(text)}'


def _config(is_needed: bool) -> Iterator[tuple[str, str]]:
  """The fields of the config that is given, or the names that there are."""
  if 'config' not in flags.FLAGS:
    return
  config = flags.FLAGS['config'].value
  if config is not None:
    yield 'fields of this config', '\n'.join(_fields(config))
  elif is_needed:
    names = _wrapped(', '.join(config_files.names()))
    yield 'configs, whose fields --config=NAME --help lists', names


def _fields(config) -> Iterator[str]:
  block = ''
  for field in config_files.fields(config):
    before, block = block, field.name.rpartition('.')[0]
    if block != before:
      yield ''
    yield f'  --config.{field.name}={shlex.quote(str(field.value).strip())}'
    if field.comment:
      yield _wrapped(field.comment)


def _wrapped(text: str) -> str:
  indent = 6 * ' '
  return textwrap.fill(
    text,
    _WIDTH,
    initial_indent=indent,
    subsequent_indent=indent,
    break_long_words=False,
    break_on_hyphens=False,
  )
