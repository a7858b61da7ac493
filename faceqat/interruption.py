"""Ends a command early: on Ctrl-C, or where nobody reads what it prints.

On Ctrl-C that is with one line, soon, whatever the command is doing. Python
raises KeyboardInterrupt between its own instructions alone, so not while XLA
compiles. Where a library calls back into Python, as at a garbage collection,
the error is printed and forgotten. A module in C that is being imported turns
it into another error, or crashes, and so may threads of XLA where Python ends.

So a thread hears of each signal, and ends the process where the main thread has
not done so a little later. What is written has a temporary name until it is
whole (`files/atomic.py`), so nothing is lost that was there.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator

STATUS = 128 + signal.SIGINT
LINE = 'interrupted'

# For the main thread, to clean up; it rarely takes a tenth of it.
_SECONDS = 3.0

# What to say to a first signal that asks no more than to stop soon.
answer = ''

# Whether `watch` was called.
is_watched = False

# Whether KeyboardInterrupt was raised, which libraries turn into other errors.
is_raised = False


def watch():
  """Begins to watch, once; to be called in the main thread."""
  global is_watched
  if not is_watched:
    is_watched = True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=[reader], daemon=True).start()
    # A shell in the background has it ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
      signal.signal(signal.SIGINT, _raise)


def _raise(number, frame):
  """Raises KeyboardInterrupt, but for an import, where modules in C crash."""
  global is_raised
  outer = frame
  while outer:
    if outer.f_code.co_filename.startswith('<frozen importlib'):
      leave(LINE)
    outer = outer.f_back
  is_raised = True
  signal.default_int_handler(number, frame)


def _wait(reader: int):
  global answer
  left = None
  while True:
    if not select.select([reader], [], [], left)[0]:
      _end(LINE)
    for number in os.read(reader, 64):
      if answer:
        said, answer = answer, ''
        os.write(2, said.encode())
      elif number == signal.SIGINT:
        # Pressed again, it does not wait.
        if left is not None:
          _end(LINE)
        left = _SECONDS


def leave(line: str):
  """Ends the process with status 130, without Python's own way of ending it.

  Args:
    line: what standard error is told.
  """
  for stream in (sys.stdout, sys.stderr):
    # An interrupted print may hold the stream.
    with contextlib.suppress(OSError, RuntimeError):
      stream.flush()
  _end(line)


@contextlib.contextmanager
def by_readers() -> Iterator[None]:
  """Ends quietly where a reader of standard output, as `head`, has left.

  Raises:
    SystemExit: with the status of a program that such a reader ends.
  """
  try:
    try:
      yield
    finally:
      sys.stdout.flush()
  except BrokenPipeError:
    # What is still to be written goes nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _end(line: str):
  # A bar hides the cursor.
  shown = '\r\x1b[K\x1b[?25h' if os.isatty(2) else ''
  with contextlib.suppress(OSError):
    os.write(2, f'{shown}{line}\n'.encode())
  os._exit(STATUS)
