"""Runs commands as `python -m` does, one after another in one process.

A small form mostly waits for the import of JAX, so commands share it. It is not
the process of the tests, as a command may choose its processors and define
flags.

  python tests/support/as_main.py OUTCOMES < commands.json

Each command is `{"words": ["faceqat.main", "--config=..."], "runs": true}`;
with `runs` false it ends once it has read its flags. OUTCOMES is a file, as
libraries may print to the streams.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import runpy
import sys
import time
import traceback
import warnings
from collections.abc import Callable

# Here, as its flags are nobody's who imports it first.
import grain  # noqa: F401
from absl import app, flags
from settings import ROOT

from faceqat import command, models


class _ReadError(BaseException):
  """Ends a command that has read its flags."""


def run(words: list[str], runs: bool = True) -> dict:
  """Runs a command, or only reads its flags.

  Args:
    words: a module, and its arguments.
    runs: whether to run it after that.

  Returns:
    'status', the exit status; 'seconds' of the processors; 'printed' and
    'complaints', its standard output and error.
  """
  printed, complaints = io.StringIO(), io.StringIO()
  known = set(flags.FLAGS)
  start = time.process_time()
  sys.argv = list(words)
  with (
    contextlib.redirect_stdout(printed),
    contextlib.redirect_stderr(complaints),
    contextlib.nullcontext() if runs else _reading_only(),
  ):
    try:
      _run_module(words[0])
      status = 0 if runs else 'it did its work before it read its flags'
    except _ReadError:
      status = 0
    except SystemExit as end:
      status = end.code or 0
      if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    except Exception:
      traceback.print_exc()
      status = 1
  for name in set(flags.FLAGS) - known:
    delattr(flags.FLAGS, name)
  return {
    'status': status,
    'seconds': time.process_time() - start,
    'printed': printed.getvalue(),
    'complaints': complaints.getvalue(),
  }


def _run_module(name):
  with warnings.catch_warnings():
    # Another command may have imported this module.
    warnings.filterwarnings('ignore', '.*found in sys.modules', RuntimeWarning)
    runpy.run_module(name, run_name='__main__', alter_sys=True)


@contextlib.contextmanager
def _reading_only():
  """Commands end where absl has read their flags, TensorBoard's argparse."""
  run_command, parse = command.run, argparse.ArgumentParser.parse_args

  def end(*_):
    raise _ReadError

  def read_flags(main: Callable, *settings, **named):
    del main
    run_command(end, *settings, **named)

  def read_arguments(parser, *arguments):
    parse(parser, *arguments)
    end()

  command.run, argparse.ArgumentParser.parse_args = read_flags, read_arguments
  try:
    yield
  finally:
    command.run, argparse.ArgumentParser.parse_args = run_command, parse


if __name__ == '__main__':
  # Without it a command would restart to set it.
  os.environ.setdefault('GLIBC_TUNABLES', '')
  app.define_help_flags()
  # As for the tests: the network of tiny_run.
  models.__path__.append(str(ROOT / 'tests' / 'extra_models'))
  path = pathlib.Path(sys.argv[1])
  outcomes = [run(**wanted) for wanted in json.load(sys.stdin)]
  path.write_text(json.dumps(outcomes))
