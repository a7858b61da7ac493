"""Shows what is done now, how far it is, and how long it still takes."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich import progress as bars
from rich.console import Console
from rich.text import Text

_Thing = TypeVar('_Thing')

# Whether a command prints no more than results, warnings and errors.
quiet = False

# Between two lines in a file, and before `say` says it again.
_SECONDS_PER_LINE = 10.0

# Over which the rate of a bar is measured.
_SECONDS_OF_RATE = 120.0

# What waits to say again what is done.
_reminder: threading.Timer | None = None


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
  """Says on standard error what is done inside and takes long, as `loading`.

  It is said again every ten seconds, until something else is shown.
  """
  _forget()
  if quiet:
    yield
    return
  print(f'{what} ...', file=sys.stderr, flush=True)
  _remind(what, time.monotonic())
  try:
    yield
  finally:
    _forget()


def note(text: object):
  """Prints what is good to know on the way and is no result."""
  _forget()
  if not quiet:
    print(text, flush=True)


def _remind(what: str, began: float):
  global _reminder

  def again():
    seconds = time.monotonic() - began
    print(f'{what} ... {seconds:.0f} s', file=sys.stderr, flush=True)
    if _reminder is timer:
      _remind(what, began)

  timer = threading.Timer(_SECONDS_PER_LINE, again)
  timer.daemon = True
  _reminder = timer
  timer.start()


def _forget():
  global _reminder
  if _reminder:
    _reminder.cancel()
    _reminder = None


class Pace:
  """Measures throughput in images per second.

  Args:
    done: parts of the work that are done already.
    total: all parts.
    images: in one part.
  """

  def __init__(self, done: int, total: int, images: int = 1):
    self._total, self._images = total, images
    self._rate = 0.0
    self.restart(done)

  def restart(self, done: int):
    """Measures from here on; the time before, as to compile, is left out."""
    self._done, self._time = done, time.monotonic()

  def rate(self, done: int) -> float:
    """Images per second since the last call; the last rate if none since."""
    images = (done - self._done) * self._images
    if images:
      self._rate = images / max(time.monotonic() - self._time, 1e-9)
    self.restart(done)
    return self._rate

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves out the time spent inside."""
    began = time.monotonic()
    yield
    self._time += time.monotonic() - began

  def describe(self, done: int) -> str:
    """The last rate and the minutes left; '' before anything is measured."""
    if not self._rate:
      return ''
    left = (self._total - done) * self._images / self._rate
    minutes, seconds = divmod(int(left), 60)
    return f'{self._rate:.1f} images/s  {minutes}:{seconds:02d} left'


class _RateColumn(bars.ProgressColumn):
  """The images a second of a bar; what is not images is counted as such."""

  def render(self, task: bars.Task) -> Text:
    rate = task.finished_speed or task.speed
    if not rate:
      return Text('')
    images = rate * task.fields['images']
    return Text(f'{images:,.1f} images/s', style='progress.data.speed')


class Bar:
  """How far a piece of work is, on a terminal; elsewhere it shows nothing.

  A context: the bar is there inside of it. Those inside of each other stand one
  below the other, and what is printed meanwhile stands above them.

  Attributes:
    is_shown: whether all that is printed goes to a terminal, and the command is
      not quiet.
  """

  # A terminal has one place for all of them.
  _all: bars.Progress | None = None

  def __init__(self, what: str, total: int, done: int = 0, images: int = 1):
    """Describes the work.

    Args:
      what: is done or counted, as the bar begins.
      total: all parts of the work.
      done: parts that are done already.
      images: in each part.
    """
    # Lines that reach it through another program, as `tee`, would tear a bar.
    self.is_shown = not quiet and sys.stderr.isatty() and sys.stdout.isatty()
    self._what, self._images = what, images
    self._done, self._total = done, total

  def __enter__(self) -> 'Bar':
    if not self.is_shown:
      return self
    if Bar._all is None:
      Bar._all = bars.Progress(
        bars.SpinnerColumn(),
        bars.TextColumn('{task.description}', markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        _RateColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn('{task.fields[text]}', markup=False),
        console=Console(stderr=True),
        transient=True,
        # A step of a training may take ten of them.
        speed_estimate_period=_SECONDS_OF_RATE,
      )
      Bar._all.start()
    self._bars = Bar._all
    self._task = self._bars.add_task(
      self._what,
      total=self._total,
      completed=self._done,
      images=self._images,
      text='',
    )
    return self

  def __exit__(self, *_):
    if not self.is_shown:
      return
    if len(self._bars.tasks) > 1:
      self._bars.remove_task(self._task)
    else:
      self._bars.stop()
      Bar._all = None

  def advance(self, text: str = ''):
    """Counts one part more; `text` stands behind the bar."""
    self._done += 1
    if self.is_shown:
      self._bars.update(self._task, completed=self._done, text=text)

  def restart(self):
    """Measures the rate from here on; the time before is left out."""
    if self.is_shown:
      self._bars.reset(self._task, completed=self._done)


def track(
  things: Iterable[_Thing],
  what: str,
  total: int,
  *,
  done: int = 0,
  images: int = 1,
) -> Iterator[_Thing]:
  """Yields things, and shows on standard error how many of them were used.

  On a terminal that is a `Bar`. Elsewhere it is a line every ten seconds, and
  none where the work is over before.

  Args:
    things: to yield.
    what: is done to them, as a line begins: `embedded`.
    total: how many there are, with those done before.
    done: before.
    images: in each of them.
  """
  pace, shown = Pace(done, total, images), time.monotonic()
  with contextlib.ExitStack() as stack:
    bar = stack.enter_context(Bar(what, total, done, images))
    # The first of them may take longer than all others, to compile.
    _forget()
    in_lines = not (quiet or bar.is_shown)
    if in_lines:
      _remind(what, shown)
      stack.callback(_forget)
    for thing in things:
      yield thing
      done += 1
      bar.advance()
      if in_lines and time.monotonic() - shown >= _SECONDS_PER_LINE:
        _forget()
        shown = time.monotonic()
        pace.rate(done)
        line = f'{what} {done:,}/{total:,}  {pace.describe(done)}'
        print(line, file=sys.stderr, flush=True)
