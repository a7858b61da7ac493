"""Shows how far a long piece of work is, and how long it still takes."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich import progress as bars
from rich.console import Console
from rich.text import Text

_Thing = TypeVar('_Thing')

# Whether a command prints no more than results, warnings and errors.
quiet = False

# Between two lines in a file.
_SECONDS_PER_LINE = 10.0


def say(text: str):
  """Says on standard error what is done now and takes long, as `loading`."""
  if not quiet:
    print(f'{text} ...', file=sys.stderr, flush=True)


def note(text: object):
  """Prints what is good to know on the way and is no result."""
  if not quiet:
    print(text, flush=True)


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


def track(
  things: Iterable[_Thing],
  what: str,
  total: int,
  *,
  done: int = 0,
  images: int = 1,
) -> Iterator[_Thing]:
  """Yields things, and shows on standard error how many of them were used.

  On a terminal that is a bar, which disappears at the end. In a file it is a
  line every ten seconds, and none where the work is over before.

  Args:
    things: to yield.
    what: is done to them, as a line begins: `embedded`.
    total: how many there are, with those done before.
    done: before.
    images: in each of them.
  """
  if quiet:
    yield from things
    return
  if sys.stderr.isatty():
    columns = (
      bars.TextColumn('{task.description}', markup=False),
      bars.BarColumn(),
      bars.MofNCompleteColumn(),
      _RateColumn(),
      bars.TimeRemainingColumn(),
    )
    terminal = Console(stderr=True)
    with bars.Progress(*columns, console=terminal, transient=True) as bar:
      task = bar.add_task(what, total=total, completed=done, images=images)
      for thing in things:
        yield thing
        bar.advance(task)
    return
  pace, shown = Pace(done, total, images), time.monotonic()
  for thing in things:
    yield thing
    done += 1
    if time.monotonic() - shown >= _SECONDS_PER_LINE:
      shown = time.monotonic()
      pace.rate(done)
      line = f'{what} {done:,}/{total:,}  {pace.describe(done)}'
      print(line, file=sys.stderr, flush=True)
