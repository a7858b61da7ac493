"""What a reader may do with any bytes at all: read them, or say what is wrong.

A target is a function that reads a file. It may raise ValueError or OSError
with a sentence that names the file or its folder. Any other exception, one
without the name, too little memory, and more than a few seconds are findings.
"""

import contextlib
import pathlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from unittest import mock

# Of the processor, for inputs of a few kilobytes.
MAX_SECONDS = 5
# What a reader may take above what is loaded already. Runtimes reserve memory
# for each of their threads.
MAX_BYTES = 4 * 2**30


class FindingError(Exception):
  """A reader did what none may do."""


class Target(NamedTuple):
  """One reader.

  Attributes:
    name: as a word.
    file: the name of the file, whose suffix some readers look at.
    read: takes its path.
    seeds: bytes that it reads.
    beside: gives the content of other files in the folder, by name.
    prepare: makes a file of the bytes: with checksums that are right, so that
      what is behind them is reached.
    unchecked: what compares or makes a checksum, as (module, function).
    cost: of one input, about, where that of most readers is 1.
  """

  name: str
  file: str
  read: Callable[[pathlib.Path], Any]
  seeds: Callable[[], list[bytes]]
  beside: Callable[[], Mapping[str, bytes]] = dict
  prepare: Callable[[bytes], bytes] = bytes
  unchecked: tuple[Any, str] | None = None
  cost: int = 1


@contextlib.contextmanager
def opened(target: Target) -> Iterator[Callable[[bytes], bool]]:
  """Gives what tries one input, and says whether it was read.

  Raises:
    FindingError: from there.
  """
  with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for name, content in target.beside().items():
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      (folder / name).write_bytes(content)
    path = folder / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    yield lambda data: _is_read(target, path, folder, data)


def limit_memory():
  """Lets this process take `MAX_BYTES` more."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
  limit = pages * resource.getpagesize() + MAX_BYTES
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _is_read(
  target: Target, path: pathlib.Path, folder: pathlib.Path, data: bytes
) -> bool:
  path.write_bytes(target.prepare(data))
  start = time.process_time()
  try:
    with _unchecked(target):
      target.read(path)
    is_read = True
  except (ValueError, OSError) as error:
    is_read = False
    if path.name not in str(error) and folder.name not in str(error):
      raise FindingError(
        f'{target.name}: no name of a file in {error!r}'
      ) from error
    cause = error
    while cause := cause.__cause__ or cause.__context__:
      if isinstance(cause, MemoryError):
        raise FindingError(
          f'{target.name}: out of memory, {cause!r}'
        ) from error
  except Exception as error:
    raise FindingError(f'{target.name}: {error!r}') from error
  seconds = time.process_time() - start
  if seconds > MAX_SECONDS:
    raise FindingError(f'{target.name}: {seconds:.0f} seconds')
  return is_read


def _unchecked(target: Target):
  if not target.unchecked:
    return contextlib.nullcontext()
  # What it gives is equal to anything.
  return mock.patch.object(*target.unchecked, return_value=mock.ANY)
