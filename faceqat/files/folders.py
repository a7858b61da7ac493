"""Lists folders without litter, splits paths, and names the cache folder."""

import os
import pathlib
from collections.abc import Iterator

# Files that systems and programs leave beside images, in lower case.
_LITTER = frozenset(
  {
    '$recycle.bin',
    '#recycle',
    '@eadir',
    '__macosx',
    'desktop.ini',
    'ehthumbs.db',
    'icon\r',
    'lost+found',
    'picasa.ini',
    'system volume information',
    'thumbs.db',
  }
)


def visible(folder: str | os.PathLike) -> list[os.DirEntry]:
  """The entries of a folder, sorted by name.

  Names that start with a dot, and files that systems leave, are left out.
  """
  return sorted(each_visible(folder), key=lambda entry: entry.name)


def each_visible(folder: str | os.PathLike) -> Iterator[os.DirEntry]:
  """The same, one by one, in the order of the disk."""
  with os.scandir(folder) as entries:
    for entry in entries:
      if not entry.name.startswith('.') and entry.name.lower() not in _LITTER:
        yield entry


def check_out(path: str | os.PathLike):
  """Refuses a file in the place of the folder of `--out`.

  Raises:
    ValueError: there is one.
  """
  if os.path.exists(path) and not os.path.isdir(path):
    raise ValueError(
      f'--out={path} is a file; give a folder, which is made if there is none'
    )


def make(path: str | os.PathLike) -> pathlib.Path:
  """A folder for results, which is made if there is none.

  Raises:
    ValueError: it cannot be made.
  """
  folder = pathlib.Path(path)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
      f'the folder {path} cannot be made ({error.strerror}); give one in a '
      'place where you may write'
    ) from error
  return folder


def check_text(path: str | os.PathLike):
  """Refuses a name that is no UTF-8, as reports and answers are.

  Raises:
    ValueError: it names the file and its folder.
  """
  folder, name = os.path.split(os.fspath(path))
  try:
    name.encode()
  except UnicodeEncodeError:
    raise ValueError(
      f'{name!r} in {folder!r} is no UTF-8 text: rename it'
    ) from None


def split_paths(text: str) -> list[str]:
  """Splits paths at commas; `~` is the home folder.

  Names may have commas: of `a,b,c` the longest beginning that exists is one
  path. Spaces after a comma are no part of a name, unless such a file exists.
  """
  parts = text.split(',') if text else []
  paths = []
  while parts:
    for count in range(len(parts), 0, -1):
      path = os.path.expanduser(','.join(parts[:count]))
      known = next((p for p in (path, path.strip()) if os.path.exists(p)), None)
      if known or count == 1:
        paths.append(known or os.path.expanduser(path.strip()))
        del parts[:count]
        break
  return paths


def cache_folder() -> pathlib.Path:
  """`faceqat` in `XDG_CACHE_HOME` or ~/.cache; it may not be there."""
  cache = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(cache) / 'faceqat'
