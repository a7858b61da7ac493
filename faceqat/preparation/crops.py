"""Cuts the faces out of photographs, on every core.

Each worker is a process of its own: OpenCV and Pillow hold Python's lock for
part of their work. It is spawned, as forking a process with threads may hang.
"""

import dataclasses
import hashlib
import io
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
from faceqat.files import atomic
from faceqat.files.image_size import ImageSize, height_width
from faceqat.preparation import duplicates, listing

ALIGNMENTS = (*alignment.TEMPLATES, 'margin')
# What crops have that are given no size.
_SIZES = {name: made.size for name, made in alignment.TEMPLATES.items()}
_SIZES['margin'] = 160
# A face of 112x112 takes 6 KB so, as a PNG three times that and twice the time
# to read. Colours are not halved, as JPEG does by default.
_QUALITY = 95
# What waits in a worker's queue is done again after a stop.
_QUEUED_PER_WORKER = 4

# What happened to a photograph, and how that is said.
STATUSES = ('found', 'ambiguous', 'missed', 'unreadable')
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
    size = _SIZES[self.alignment] if self.size is None else self.size
    object.__setattr__(self, 'size', height_width(size, 'size'))
    if self.alignment in alignment.TEMPLATES:
      # It says what does not go together.
      alignment.template_points(self.alignment, self.size)

  @property
  def template(self) -> str:
    """The name that a fingerprint has for the alignment."""
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
    settings: how.
    detect: what `detection.make_detector` gives.
    root: where the photograph's name starts.
    photograph: what to read.
    folder: the crops are written below it, as their names say.

  Returns:
    What happened, ready for JSON: `photograph`, `crop`, `size` and `modified`
    as listed, `status` (one of `STATUSES`), `reason` (a sentence, if it is
    'missed' or 'unreadable'), `faces` (how many were found), and `crops`, for
    each the `file`, `box`, `score`, `pixels` (a digest of them) and `hash`
    (the perceptual one).
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
  # Of OpenCV also where memory is too small for a large photograph.
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
  """Writes one face, and describes it."""
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
    settings: how.
    root: where the photographs' names start.
    photographs: what to read.
    folder: where to write.
    workers: processes; 1: this one.

  Raises:
    ValueError: the detector cannot be made, or a worker died; some of the
      photographs that it may have died of are named.
  """
  # Here too, so that a wrong detector is an error of this process.
  detect = detection.make_detector(settings.detector or None)
  if workers == 1:
    for photograph in photographs:
      yield crop_photograph(settings, detect, root, photograph, folder)
    return
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
      # A few at a time: results are noted as they come, and a stop is quick.
      for photograph in left:
        future = executor.submit(_work, root, photograph, folder)
        waiting[future] = photograph
        if len(waiting) >= _QUEUED_PER_WORKER * workers:
          break
      if not waiting:
        return
      done, _ = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
      for future in done:
        yield future.result()
        del waiting[future]
  except BrokenProcessPool:
    names = ', '.join(photograph.name for photograph in waiting.values())
    raise ValueError(
      f'A worker died (of too little memory, or of a photograph) at one of '
      f'{names}: run it again with fewer --workers; if it dies again, remove '
      'the photographs that --workers=1 does not get past.'
    ) from None
  finally:
    executor.shutdown(cancel_futures=True)


def encode(pixels: np.ndarray) -> bytes:
  """A crop, uint8 [H, W, 3], as the JPEG file that is written of it."""
  stream = io.BytesIO()
  Image.fromarray(pixels).save(
    stream, 'JPEG', quality=_QUALITY, subsampling=0, optimize=True
  )
  return stream.getvalue()


# What a worker makes once: settings, and a detector, which is for one thread.
_worker: tuple[CropSettings, Callable] | None = None


def _start_worker(settings: CropSettings):
  global _worker
  # Ctrl-C reaches every process; the first one tells the others.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # Else a worker waits for ever for one that was killed.
  threading.Thread(target=_leave_with_parent, daemon=True).start()
  # Each has a core.
  cv2.setNumThreads(1)
  _worker = settings, detection.make_detector(settings.detector or None)


def _leave_with_parent():
  multiprocessing.parent_process().join()
  os._exit(1)


def _work(root, photograph, folder) -> Record:
  settings, detect = _worker
  return crop_photograph(settings, detect, root, photograph, folder)
