"""What a reader may do with any bytes: read them, or say what is wrong.

A target reads a file. It may raise a ValueError or OSError that names the file
or its folder. Findings are any other exception, one without the name, too
little memory, and more than a few seconds.
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
# Memory of a reader, beside what is loaded already. Runtimes reserve some for
# each of their threads.
MAX_BYTES = 4 * 2**30


class FindingError(Exception):
  """A reader did something that is not allowed."""


class Target(NamedTuple):
  """One reader.

  Attributes:
    name: one word.
    file: the name of the file; some readers need its suffix.
    read: takes its path.
    seeds: makes contents that it reads.
    beside: makes the contents of other files in the folder, by name.
    prepare: corrects the checksums in the bytes, so that the code behind them
      is reached.
    unchecked: (module, function) that compares or makes a checksum; replaced.
  """

  name: str
  file: str
  read: Callable[[pathlib.Path], Any]
  seeds: Callable[[], list[bytes]]
  beside: Callable[[], Mapping[str, bytes]] = dict
  prepare: Callable[[bytes], bytes] = bytes
  unchecked: tuple[Any, str] | None = None


@contextlib.contextmanager
def opened(target: Target) -> Iterator[Callable[[bytes], bool]]:
  """Gives a function that tries one input and says whether it was read.

  It raises a FindingError.
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
  # Its result is equal to anything.
  return mock.patch.object(*target.unchecked, return_value=mock.ANY)
