"""Starts and ends every command: allocator, flags, errors in one sentence."""

import contextlib
import dataclasses
import gc
import os
import platform
import re
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from faceqat import (
  compilation,
  compilation_cache,
  config_files,
  interruption,
  progress,
)
from faceqat.files.image_size import ImageSize, of_text

# A flag that is defined here is one of the module that asked for it.
flags.disclaim_key_flags()

flags.DEFINE_bool('quiet', False, 'Print results, warnings and errors alone.')
flags.DEFINE_string(
  'compilation_cache',
  None,
  'Folder that keeps what XLA compiles for the next command, or none. By '
  "default it is faceqat/compiled in the user's cache folder.",
)

# Errors that a user can mend: one sentence is enough.
USER_ERRORS = (ValueError, TypeError, OSError, FloatingPointError)

# The C allocator settings under which XLA trains twice as fast on a CPU, and
# evaluates in three quarters of the time. Every step allocates and frees the
# same large buffers. With glibc's defaults each is mapped, zeroed page by page
# by the kernel, and unmapped again; kept in the heap, in huge pages, they are
# not, up to 16 GB.
TUNABLES = (
  'glibc.malloc.hugetlb=1'
  ':glibc.malloc.mmap_threshold=17179869184'
  ':glibc.malloc.trim_threshold=17179869184'
  ':glibc.malloc.arena_max=1'
)


# What a command ends with; some say more than that.
STATUSES = {
  0: 'all was done',
  1: 'a wrong flag or input, which one sentence on standard error names',
  130: 'stopped with Ctrl-C',
}


class _ConfigParser(flags.ArgumentParser):
  """A config by its name or path, and the word for a form behind it."""

  def __init__(self, of_files: flags.ArgumentParser):
    super().__init__()
    self._of_files = of_files

  def parse(self, argument: str) -> ConfigDict:
    config_files.make_importable()
    path = config_files.path_of(argument)
    if os.path.isdir(path.partition(':')[0]):
      raise ValueError(f'{path} is a folder; give the file of a config')
    try:
      return self._of_files.parse(path)
    except (ImportError, NameError, SyntaxError) as error:
      kind = type(error).__name__
      raise ValueError(
        f'{path} is no file of Python with a config ({kind}: {error})'
      ) from error

  def flag_type(self) -> str:
    return self._of_files.flag_type()


def define_config(help_text: str):
  """Defines the flag --config, whose value is the config."""
  config_flags.DEFINE_config_file('config', None, help_text)
  flag = flags.FLAGS['config']
  flag.parser = _ConfigParser(flag.parser)


class _SizeParser(flags.ArgumentParser):
  """112, or 112,96: the height, then the width."""

  syntactic_help = 'a number of pixels, or a height and a width'

  def parse(self, argument: str | ImageSize) -> ImageSize:
    return of_text(argument) if isinstance(argument, str) else argument

  def flag_type(self) -> str:
    return 'size'


def define_size(
  name: str, help_text: str, default: ImageSize | None = None
) -> flags.FlagHolder:
  """Defines a flag for the size of images."""
  serializer = flags.ArgumentSerializer()
  return flags.DEFINE(
    _SizeParser(), name, default, help_text, serializer=serializer
  )


def option(
  default: Any,
  help_text: str,
  *,
  choices: Sequence[str] = (),
  least: int | None = None,
) -> Any:
  """A field of a settings dataclass that `define_settings` makes a flag of.

  Args:
    default: of the field and of the flag.
    help_text: what the field means.
    choices: all values, where there are few.
    least: the smallest number.
  """
  metadata = {'help': help_text, 'choices': choices, 'least': least}
  return dataclasses.field(default=default, metadata=metadata)


def define_settings(settings: type):
  """Defines a flag for each `option` of a dataclass, of the field's type."""
  types = typing.get_type_hints(settings)
  for field in dataclasses.fields(settings):
    if not field.metadata:
      continue
    name, default = field.name, field.default
    text, choices, least = field.metadata.values()
    kinds = {types[name], *typing.get_args(types[name])}
    if choices:
      flags.DEFINE_enum(name, default, choices, text)
    elif bool in kinds:
      flags.DEFINE_bool(name, default, text)
    elif Sequence[int] in kinds:
      define_size(name, text, default)
    elif int in kinds:
      flags.DEFINE_integer(name, default, text, lower_bound=least)
    elif float in kinds:
      flags.DEFINE_float(name, default, text)
    elif Sequence[str] in kinds:
      flags.DEFINE_list(name, default and list(default), text)
    else:
      flags.DEFINE_string(name, default, text)


def group_flags(title: str, *names: str):
  """Shows flags of the command under a title of their own in its help."""
  for name in names:
    flags.FLAGS[name].group = title


def given_settings(settings: type) -> Any:
  """The dataclass with the values of the flags that have its fields' names."""
  names = [field.name for field in dataclasses.fields(settings)]
  return settings(**{name: flags.FLAGS[name].value for name in names})


def compile_quickly():
  """For runs of a few steps; before JAX first looks for its devices."""
  own = os.environ.get('XLA_FLAGS', '').split()
  os.environ['XLA_FLAGS'] = compilation.with_flags(compilation.FLAGS, own)


def restart_with_tuned_allocator():
  """Restarts the command under `TUNABLES`, once, where glibc is in use.

  glibc reads them when a process starts, so this is the only way to set them
  from inside. A user's own `GLIBC_TUNABLES` is left alone.
  """
  if platform.libc_ver()[0] != 'glibc' or 'GLIBC_TUNABLES' in os.environ:
    return
  os.environ['GLIBC_TUNABLES'] = TUNABLES
  os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def run(
  main: Callable[..., int | None],
  positional: Sequence[str] = (),
  statuses: Mapping[int, str] = STATUSES,
  *,
  loads: bool = True,
):
  """Runs a command after parsing its flags; -h prints its help instead.

  A wrong flag or input ends it with one sentence; where it was raised is shown
  with `--verbosity=1`.

  Args:
    main: what to run; it may return the exit status.
    positional: the names of the arguments that are no flags, all of which
      have to be given, before or between the flags; `main` gets them. A last
      one that ends with three dots may be given several times, and one in
      brackets, `[NAME...]`, not at all.
    statuses: what its exit statuses mean; an error is the last one below 130.
    loads: it imports what takes seconds.
  """
  interruption.watch()
  failed = max(status for status in statuses if status < 128)
  # XLA's messages (that it compiles slowly, for one) help no user. It reads
  # TensorFlow's variable.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  # JAX makes many objects as it traces, and the garbage collector would look
  # through all of them again and again: a twentieth of a short run.
  gc.set_threshold(100_000, 50, 100)

  def read_flags(argv: list[str]) -> list[str]:
    if {'-h', '--help'} & {*argv}:
      _show_help(argv, positional, statuses)
    return parse(argv)

  def run_main(argv: list[str]) -> int | None:
    # By default `app` shows information, of which Orbax writes pages.
    if not flags.FLAGS['verbosity'].present:
      logging.set_verbosity(logging.WARNING)
    progress.quiet = flags.FLAGS['quiet'].value
    try:
      _check_positional(argv[1:], positional)
      _keep_compiled()
      waits = progress.doing('loading') if loads else contextlib.nullcontext()
      with interruption.by_readers(), waits:
        return main(*argv[1:])
    except KeyboardInterrupt as stop:
      interruption.leave(str(stop) or interruption.LINE)
    except USER_ERRORS as error:
      logging.debug('traceback', exc_info=True)
      sys.exit(f'error: {_with_remedy(error)}')

  try:
    app.run(run_main, flags_parser=read_flags)
  except (SystemExit, Exception) as end:
    if interruption.is_raised:
      interruption.leave(interruption.LINE)
    is_sentence = isinstance(end, SystemExit) and isinstance(end.code, str)
    # Python's own status for a sentence and for a traceback is 1.
    if failed == 1 or (isinstance(end, SystemExit) and not is_sentence):
      raise
    if is_sentence:
      print(end.code, file=sys.stderr)
    else:
      traceback.print_exc()
    sys.exit(failed)


def _keep_compiled():
  folder = flags.FLAGS['compilation_cache'].value
  # Processes that train as one may wait for each other as they compile: each of
  # them has to find what one finds.
  if folder or 'distributed' not in flags.FLAGS or not flags.FLAGS.distributed:
    compilation_cache.keep(folder)


def _show_help(
  argv: list[str], positional: Sequence[str], statuses: Mapping[int, str]
):
  """Prints the help of a command, and the fields of a config that is given."""
  from faceqat import command_help

  needed = [name for name in flags.FLAGS if _is_needed(flags.FLAGS[name])]
  for name in needed:
    flags.FLAGS[name].validators.clear()
  parse([word for word in argv if word not in ('-h', '--help')])
  with interruption.by_readers():
    command_help.show(needed, positional, statuses)
  sys.exit(0)


def _is_needed(flag: flags.Flag) -> bool:
  return any('must have a value' in each.message for each in flag.validators)


def _with_remedy(error: Exception) -> str:
  """The error in one sentence; one of the system names a path alone."""
  if not isinstance(error, OSError) or error.filename is None:
    return str(error)
  return (
    f'{error.filename} cannot be read or written ({error.strerror}); give '
    'another path'
  )


def _check_positional(arguments: Sequence[str], names: Sequence[str]):
  missing = names[len(arguments) : len(arguments) + 1]
  if missing and not missing[0].startswith('['):
    raise ValueError(
      f'{missing[0].removesuffix("...")} is missing; give {" ".join(names)}, '
      'and flags as --name=x'
    )
  extra = arguments[len(names) :]
  if extra and not (names and names[-1].endswith(('...', '...]'))):
    raise ValueError(f'unexpected argument {extra[0]!r}; flags are --name=x')


def parse(argv: list[str]) -> list[str]:
  """Parses the flags; returns the arguments that are none.

  Raises:
    SystemExit: a flag is wrong; it has one sentence.
  """
  # Else what follows the first argument that is no flag is none either.
  flags.FLAGS.set_gnu_getopt(True)
  try:
    arguments = flags.FLAGS(argv)
    config = getattr(flags.FLAGS, 'config', None)
    if not isinstance(config, str | None):
      # One whose file could not be read says so only when it is used.
      _expand_home(config)
      _join_sets(config, argv)
    # A shell leaves the ~ of --name=~/x as it is.
    for name in flags.FLAGS:
      flag = flags.FLAGS[name]
      if isinstance(flag.value, str) and flag.value.startswith('~'):
        flag.value = os.path.expanduser(flag.value)
    return list(map(os.path.expanduser, arguments))
  except (KeyError, AttributeError, TypeError) as error:
    # A KeyError, plain or wrapped: the name, then the one perhaps meant.
    while error.args and isinstance(error.args[0], Exception):
      error = error.args[0]
    lines = str(error.args[0]).splitlines()
    sys.exit(f'error: a flag names no field of the config: {". ".join(lines)}')
  except (flags.Error, OSError) as error:
    sys.exit(f'error: {_sentence_of(error)}')


def _sentence_of(error: Exception) -> str:
  """What is wrong with a flag, and the remedy."""
  message = str(error)
  absent = re.search("No such file or directory: '(.*)'", message)
  if absent:
    return (
      f'{absent[1]} does not exist; give the file of a config, as '
      '--config=configs/mbv2_int8.py, or its name, as --config=mbv2_int8'
    )
  missing = re.search(r'Flag --(\w+) must have a value other than', message)
  if missing:
    name = missing[1]
    meaning = flags.FLAGS[name].help.removesuffix('.')
    return f'--{name} is missing; give it: {meaning[0].lower()}{meaning[1:]}'
  unknown = re.match(
    r"Unknown command line flag '(.+?)'(?:\. Did you mean: (.+) \?)?$", message
  )
  if unknown:
    near = '--' + unknown[2].replace(' or ', ' or --') if unknown[2] else ''
    return f'there is no flag {unknown[1]!r}; ' + (
      f'did you mean {near}?' if near else '-h lists them'
    )
  choice = re.match(r"flag (--\S+): \('Non-boolean argument", message)
  if choice:
    return f'{choice[1]}: give True or False'
  # An error in a config file arrives in a traceback, on its last line.
  return message.strip().splitlines()[-1].strip().removeprefix('ValueError: ')


def _expand_home(config: ConfigDict):
  """Paths in a config that start with ~ become paths in the home folder."""
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      _expand_home(value)
    elif isinstance(value, str) and value.startswith('~'):
      config[name] = os.path.expanduser(value)


def _join_sets(config: ConfigDict, argv: Sequence[str]):
  """Gives a config each set of a repeated --config.data.path, not the last."""
  sets = []
  for place, argument in enumerate(argv):
    name, equals, value = argument.partition('=')
    if name in ('--config.data.path', '-config.data.path'):
      sets.append(value if equals else argv[place + 1])
  if len(sets) > 1:
    # Of one set it is text.
    with config.ignore_type():
      config.data.path = tuple(sets)
