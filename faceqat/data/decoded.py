"""Decoded images of a training set, in a file that is mapped into memory.

To decode a crop takes some 0.3 ms of a core, and to read it from such a file a
tenth of that. The file is made once, and again when a file of the set, or what
decodes it, has changed.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import PIL
from PIL import features

from faceqat.data import inspection
from faceqat.data.sources.labelled import View
from faceqat.faces.made import are_made
from faceqat.fields import check_value
from faceqat.files import atomic, folders
from faceqat.files.image_size import ImageSize, height_width
from faceqat.progress import doing

# Of the file: its rows, and what decodes them.
_FORMAT = f'1 {PIL.__version__} {features.version("jpg")}'
_GB = 10**9


class DecodedSource(View):
  """The images of a labelled source, taken from a file of their pixels.

  Attributes:
    labels, class_names, made: of the source.
  """

  def __init__(self, source, rows: np.ndarray, size: tuple[int, int]):
    """Takes the pixels.

    Args:
      source: N images.
      rows: [N, H * W * 3 + 1] uint8: the pixels of each image, then 1; 0 where
        the image is damaged.
      size: (H, W).
    """
    self._source, self._rows, self._shape = source, rows, (*size, 3)
    self.labels, self.class_names = source.labels, source.class_names
    self.made = are_made(source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    row = self._rows[index]
    if not row[-1]:
      # Raises what is wrong with it; or it was restored in the meantime.
      return super().__getitem__(index)
    image = row[:-1].reshape(self._shape)
    return {'image': image, 'label': self.labels[index]}

  def version(self) -> str:
    return self._source.version()

  def _find(self, index: int):
    return self._source, index


def keep_decoded(
  source, image_size: ImageSize, limit: float
) -> tuple[object, list[str]]:
  """Decodes all images of a source, unless a process did so before.

  The file lies in `faceqat/decoded` of the user's cache folder. Those that were
  used least recently make room for it.

  Args:
    source: a labelled source of files.
    image_size: of its images.
    limit: of all these files together, in GB; 0 keeps none.

  Returns:
    The source that reads them, or where they cannot be kept the one given; and
    sentences for the user, why they are not kept.

  Raises:
    ValueError: the limit is below 0.
  """
  check_value('data.cache_gb', limit, '[0, inf)')
  if not limit:
    return source, []
  size = height_width(image_size)
  shape = len(source), size[0] * size[1] * 3 + 1
  taken = shape[0] * shape[1]
  if taken > limit * _GB:
    return source, [
      f'note: decoded, the images take {taken / _GB:.1f} GB, more than '
      f'data.cache_gb={limit:g}: each is decoded whenever it is used'
    ]
  digest = hashlib.sha256(f'{_FORMAT} {source.version()}'.encode()).hexdigest()
  path = folders.cache_folder() / 'decoded' / f'{digest[:32]}.pixels'
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
      if not path.exists() or path.stat().st_size != taken:
        _make_room(path.parent, int(limit * _GB) - taken)
        _decode(source, shape, path)
      # It was used last.
      os.utime(path)
      rows = np.memmap(path, np.uint8, 'r', shape=shape)
  except OSError as error:
    return source, [
      f'note: decoded images cannot be kept in {path.parent} '
      f'({error.strerror}): each is decoded whenever it is used'
    ]
  return DecodedSource(source, rows, size), []


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
  """Waits for the folder; the lock ends with the process."""
  with open(folder / '.lock', 'a') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      with doing('waiting for another process, which decodes images'):
        fcntl.flock(file, fcntl.LOCK_EX)
    atomic.clear(folder)
    yield


def _make_room(folder: pathlib.Path, most: int):
  """Removes files until the others have at most so many bytes."""
  # A process that uses one keeps its pixels until it ends.
  files = sorted(folder.glob('*.pixels'), key=lambda file: file.stat().st_mtime)
  taken = sum(file.stat().st_size for file in files)
  while files and taken > most:
    taken -= files[0].stat().st_size
    files.pop(0).unlink()


def _decode(source, shape: tuple[int, int], path: pathlib.Path):
  """Writes the rows of all images; those of damaged ones stay 0."""
  count, length = shape
  temporary = atomic.temporary_name(path)
  try:
    with open(temporary, 'xb') as file:
      file.truncate(count * length)

      def write(index: int):
        row = np.empty(length, np.uint8)
        row[:-1] = source[index]['image'].reshape(-1)
        row[-1] = 1
        # Not by a map: a full disk would kill the process.
        written = os.pwrite(file.fileno(), row, index * length)
        if written != length:
          raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

      for _ in inspection.each(write, np.arange(count), 'decoded images'):
        pass
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
