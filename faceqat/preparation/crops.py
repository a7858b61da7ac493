"""Cuts the faces out of photographs, in one process for each core.

OpenCV and Pillow hold Python's lock for part of their work, so threads would
not do. Workers are spawned: forking a process with threads may hang.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2
import numpy as np
from PIL import Image

from faceqat.command import option
from faceqat.faces import alignment, choice, detection
from faceqat.faces import photographs as photograph_files
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files import atomic
from faceqat.files.image_size import ImageSize, height_width
from faceqat.preparation import duplicates, listing

ALIGNMENTS = (*alignment.TEMPLATES, 'margin')
_DEFAULT_SIZES = {
  **{name: template.size for name, template in alignment.TEMPLATES.items()},
  'margin': 160,
}
# A 112x112 face takes 6 KB at this JPEG quality with full colour resolution. A
# PNG takes three times as much, and twice the time to read.
_QUALITY = 95
# Photographs in a worker's queue are cropped again after a stop.
_QUEUED_PER_WORKER = 4

# The outcomes for a photograph.
STATUSES = ('found', 'ambiguous', 'missed', 'unreadable')
# The record of a photograph, ready for JSON; see `crop_photograph`.
Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class CropSettings:
  """How faces are found and cut out; `size` is a pair, whatever was given."""

  alignment: str = option(
    'arcface',
    'arcface: five points of the face on the template of InsightFace; '
    'sphereface: on that of SphereFace and CosFace, 112 high and 96 wide; '
    'margin: the box of the face with a margin, as FaceNet.',
    choices=ALIGNMENTS,
  )
  size: ImageSize | None = option(
    None,
    'Height and width of the crops; 112 for arcface, 112,96 for sphereface and '
    '160 for margin if not given.',
  )
  faces: str = option(
    'largest',
    'Which faces of a photograph to take.',
    choices=choice.CHOICES,
  )
  detector: str = option(
    '', 'ONNX file of a YuNet detector instead of the one inside.'
  )

  def __post_init__(self):
    size = _DEFAULT_SIZES[self.alignment] if self.size is None else self.size
    object.__setattr__(self, 'size', height_width(size, 'size'))
    if self.alignment in alignment.TEMPLATES:
      # Refuses a size of other proportions.
      alignment.template_points(self.alignment, self.size)

  @property
  def fingerprint(self) -> Fingerprint:
    return Fingerprint(self.template, self.size)

  @property
  def template(self) -> str:
    """The alignment as a fingerprint names it."""
    named = self.alignment in alignment.TEMPLATES
    return self.alignment if named else alignment.WITH_MARGIN


def crop_photograph(
  settings: CropSettings,
  detect: Callable[[np.ndarray], list[detection.Face]],
  root: str | os.PathLike,
  photograph: listing.Photograph,
  folder: str | os.PathLike,
) -> Record:
  """Writes the faces of a photograph as JPEG files.

  Args:
    settings: how they are cut out.
    detect: as `detection.make_detector` makes it.
    root: the folder that the photograph's name starts in.
    photograph: what to read.
    folder: the crops are written below it, as person/name.jpg.

  Returns:
    `photograph`, `crop`, `size` and `modified` as listed; `status`, one of
    `STATUSES`; `reason`, a sentence if it is 'missed' or 'unreadable'; `faces`,
    how many were found; and `crops`, each with `file`, `box`, `score`,
    `pixels` (their digest) and `hash` (the perceptual one).
  """
  record = {
    'photograph': photograph.name,
    'crop': photograph.crop,
    'size': photograph.size,
    'modified': photograph.modified,
    'status': 'missed',
    'reason': '',
    'faces': 0,
    'crops': [],
  }
  try:
    image = photograph_files.read_photograph(
      pathlib.Path(root) / photograph.name
    )
    found = detect(image)
  # OpenCV raises its own error where memory is short for a large photograph.
  except (ValueError, cv2.error, MemoryError) as error:
    return {**record, 'status': 'unreadable', 'reason': str(error)}
  if not found:
    return {**record, 'reason': 'no face was found'}
  record['faces'] = len(found)
  chosen = choice.choose(found, settings.faces, image.shape)
  for number, face in enumerate(chosen, 1):
    try:
      pixels = alignment.cut_out(image, face, settings.template, settings.size)
    except ValueError as error:
      record['reason'] = str(error)
      continue
    name = listing.crop_name(
      photograph, number if settings.faces == 'all' else None
    )
    record['crops'].append(_write_crop(pixels, face, folder, name))
  if record['crops']:
    unsure = choice.is_ambiguous(found, settings.faces, image.shape)
    record['status'] = 'ambiguous' if unsure else 'found'
  return record


def _write_crop(
  pixels: np.ndarray,
  face: detection.Face,
  folder: str | os.PathLike,
  name: str,
) -> dict[str, Any]:
  path = pathlib.Path(folder) / name
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write(path, encode(pixels))
  return {
    'file': name,
    'box': np.round(face.box, 1).tolist(),
    'score': round(float(face.score), 4),
    'pixels': hashlib.sha256(pixels.tobytes()).hexdigest()[:32],
    'hash': duplicates.perceptual_hash(pixels).tobytes().hex(),
  }


def crop_photographs(
  settings: CropSettings,
  root: str | os.PathLike,
  photographs: Sequence[listing.Photograph],
  folder: str | os.PathLike,
  workers: int,
) -> Iterator[Record]:
  """Runs `crop_photograph` on many photographs, in any order.

  Args:
    settings, root, folder: see `crop_photograph`.
    photographs: what to read.
    workers: processes; 1: no other than this one.

  Raises:
    ValueError: the detector cannot be made, or a worker died; it names the
      photographs that may be the cause.
  """
  # With several workers too: a wrong detector is an error of this process.
  detect = detection.make_detector(settings.detector or None)
  if workers > 1:
    yield from _in_processes(settings, root, photographs, folder, workers)
    return
  for photograph in photographs:
    yield crop_photograph(settings, detect, root, photograph, folder)


def _in_processes(
  settings, root, photographs, folder, workers
) -> Iterator[Record]:
  executor = futures.ProcessPoolExecutor(
    workers,
    multiprocessing.get_context('spawn'),
    initializer=_start_worker,
    initargs=(settings,),
  )
  waiting: dict[futures.Future, listing.Photograph] = {}
  left = iter(photographs)
  try:
    while True:
      # Few are queued, so that results come soon and a stop is quick.
      room = _QUEUED_PER_WORKER * workers - len(waiting)
      with _without_interruption():
        for photograph in itertools.islice(left, room):
          future = executor.submit(_work, root, photograph, folder)
          waiting[future] = photograph
      if not waiting:
        return
      done, _ = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
      for future in done:
        yield future.result()
        del waiting[future]
  except KeyboardInterrupt:
    # Those that are still starting would be waited for.
    for worker in multiprocessing.active_children():
      worker.terminate()
    raise
  except BrokenProcessPool:
    names = ', '.join(photograph.name for photograph in waiting.values())
    raise ValueError(
      f'A worker died (of too little memory, or of a photograph) at one of '
      f'{names}: run it again with fewer --workers; if it dies again, remove '
      'the photographs that --workers=1 does not get past'
    ) from None
  finally:
    executor.shutdown(cancel_futures=True)


def encode(pixels: np.ndarray) -> bytes:
  """The JPEG file of a crop, uint8 [H, W, 3]."""
  stream = io.BytesIO()
  Image.fromarray(pixels).save(
    stream, 'JPEG', quality=_QUALITY, subsampling=0, optimize=True
  )
  return stream.getvalue()


# Made once in each worker: a detector is for one thread.
_worker: tuple[CropSettings, Callable] | None = None


@contextlib.contextmanager
def _without_interruption() -> Iterator[None]:
  """Holds Ctrl-C back; workers started inside never hear it.

  It reaches every process of a terminal, and the parent stops its workers.
  """
  signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _start_worker(settings: CropSettings):
  global _worker
  # A worker would wait for ever for a parent that was killed.
  threading.Thread(target=_leave_with_parent, daemon=True).start()
  # Each worker has one core.
  cv2.setNumThreads(1)
  _worker = settings, detection.make_detector(settings.detector or None)


def _leave_with_parent():
  multiprocessing.parent_process().join()
  os._exit(1)


def _work(root, photograph, folder) -> Record:
  settings, detect = _worker
  return crop_photograph(settings, detect, root, photograph, folder)
