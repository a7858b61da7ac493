"""Finds faces and their five landmarks in a photograph.

The detector is YuNet (Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y)
as OpenCV runs it. Its weights come from a package of which no code is run.
`benchmarks/detectors.py` compares it with others.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import cv2
import numpy as np

from faceqat.faces import alignment
from faceqat.fields import check_value
from faceqat.files import packaged

# YuNet finds nearly all faces of 30 to 500 pixels: at a longest side of 1280
# those wider than a fortieth of the photograph, at 320 those that fill it. A
# smaller photograph in which it finds nobody is enlarged to 320.
_LONGEST_SIDES = (1280, 320)
# The most that two boxes have in common, as a share of the smaller one.
_MAX_OVERLAP = 0.5
# Landmarks are the mean over these views: height of the face in pixels of the
# view, shift in pixels, mirrored.
_VIEW_SIZE = 128
_VIEWS = ((64, 0, False), (64, 0, True), (74, 3, False), (74, 3, True))
# They are found again while they are tilted by three degrees and more.
_UPRIGHT = np.cos(np.radians(3))
_MAX_ROUNDS = 5
# The order of the landmarks of a mirrored face.
_MIRRORED = (1, 0, 2, 4, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
  """A face in a photograph.

  Attributes:
    box: [4] float64: x, y, width, height in pixels; may reach outside.
    landmarks: [5, 2] float64: x, y in pixels, in the order of
      `alignment.ARCFACE_TEMPLATE`.
    score: 0 .. 1, how sure the detector is.
  """

  box: np.ndarray
  landmarks: np.ndarray
  score: float


def packaged_weights() -> pathlib.Path:
  """The installed file with YuNet's weights.

  Raises:
    ValueError: the package or its file is missing, or of another version.
  """
  return packaged.YUNET.path('the .onnx file of a YuNet detector')


def make_detector(
  model: str | os.PathLike | None = None, min_score: float = 0.6
) -> Callable[[np.ndarray], list[Face]]:
  """Makes a function that finds faces, for one thread.

  Faces lower than a fortieth of the photograph's longer side, or than 30
  pixels, are mostly missed, and some of those that lie on their side.

  Landmarks in one view jump by some pixels when the photograph is moved or
  scaled a little, and lag behind when it is turned. So they are the mean over
  four views in which the face is upright.

  Args:
    model: the ONNX file of a YuNet detector, such as OpenCV's model zoo's
      `face_detection_yunet_2023mar.onnx`; None: the packaged weights.
    min_score: faces with a lower score are left out.

  Returns:
    A function from a photograph, uint8 [H, W, 3] RGB, to its faces, the surest
    first; it raises ValueError for another array.

  Raises:
    ValueError: the file is no such detector, or min_score is not in 0 .. 1.
  """
  check_value('min_score', min_score, '(0, 1)')
  network = _load(packaged_weights() if model is None else model, min_score)

  def detect(image: np.ndarray) -> list[Face]:
    _check_image(image)
    rows = _distinct(_search(network, image))
    return [
      Face(row[:4], _refine(network, image, row[:4], row[4:14]), float(row[14]))
      for row in rows
    ]

  return detect


def _load(path, min_score):
  """OpenCV's detector, tried once on an empty image."""
  try:
    weights = np.fromfile(path, np.uint8)
  except OSError as error:
    raise ValueError(
      f'the detector {path} cannot be read ({error.strerror}); give the .onnx '
      'file of a YuNet detector'
    ) from None
  previous = cv2.utils.logging.getLogLevel()
  # OpenCV 5 warns that it ignores a setting that nobody has made.
  cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
  try:
    network = cv2.FaceDetectorYN.create(
      'onnx', weights, np.empty(0, np.uint8), (64, 64), min_score
    )
    network.detect(np.zeros((64, 64, 3), np.uint8))
  except cv2.error as error:
    reason = str(error.err or error).strip('> \n').splitlines()[0]
    raise ValueError(
      f'{path} is no YuNet detector that OpenCV can run ({reason}); give the '
      '.onnx file of one, such as face_detection_yunet_2023mar.onnx'
    ) from None
  finally:
    cv2.utils.logging.setLogLevel(previous)
  return network


def _check_image(image):
  if image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
    raise ValueError(
      f'the detector got {image.dtype} {list(image.shape)}, wanted uint8 '
      '[H, W, 3] RGB; photographs.read_photograph gives that'
    )


def _run(network, image):
  """[N, 15] float64: box, landmarks and score of the faces in an RGB image."""
  network.setInputSize(image.shape[1::-1])
  rows = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
  return np.empty((0, 15)) if rows is None else rows.astype(np.float64)


def _search(network, image):
  """[N, 15] float64: the faces in copies of several sizes."""
  longest = max(image.shape[:2])
  found = []
  for longest_side in _LONGEST_SIDES:
    # A copy hardly smaller than the one before would show nothing new.
    if found and longest_side > 0.75 * longest:
      break
    found.append(_run_scaled(network, image, min(1, longest_side / longest)))
  if not len(found[0]) and longest < _LONGEST_SIDES[-1]:
    found = [_run_scaled(network, image, _LONGEST_SIDES[-1] / longest)]
  return np.concatenate(found)


def _run_scaled(network, image, ratio):
  """What `_run` finds in a copy of another size, in pixels of the image."""
  height, width = image.shape[:2]
  size = max(round(width * ratio), 1), max(round(height * ratio), 1)
  copy = image
  if ratio != 1:
    kind = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    copy = cv2.resize(image, size, interpolation=kind)
  rows = _run(network, copy)
  rows[:, :14] *= np.tile([width / size[0], height / size[1]], 7)
  return rows


def _distinct(rows):
  """The surest first, without those inside a surer one.

  YuNet's own suppression divides by the union of two boxes, and so leaves a
  face within a face.
  """
  kept = []
  for row in rows[np.argsort(-rows[:, 14], kind='stable')]:
    if all(_overlap(row, other) < _MAX_OVERLAP for other in kept):
      kept.append(row)
  return kept


def _overlap(a, b):
  """The common part of two boxes, as a share of the smaller one."""
  first = np.maximum(a[:2], b[:2])
  last = np.minimum(a[:2] + a[2:4], b[:2] + b[2:4])
  common = np.prod(np.maximum(last - first, 0))
  return common / max(min(np.prod(a[2:4]), np.prod(b[2:4])), 1e-9)


def _refine(network, image, box, landmarks):
  """[5, 2] float64: landmarks found again in views that are upright.

  Landmarks tilt by about half as much as the face, so the views are turned
  until nearly no tilt is left.
  """
  landmarks = landmarks.reshape(5, 2)
  for _ in range(_MAX_ROUNDS):
    level = _level(landmarks)
    landmarks = _mean_of_views(network, image, box, level, landmarks)
    # The cosine of the angle by which the last view was tilted.
    if (_level(landmarks) * level).sum() / 2 > _UPRIGHT:
      break
  return landmarks


def _level(landmarks):
  """[2, 2]: the rotation that puts a face upright."""
  turn = alignment.estimate_similarity(landmarks, alignment.ARCFACE_TEMPLATE)
  return turn[:, :2] / np.sqrt(np.linalg.det(turn[:, :2]))


def _mean_of_views(network, image, box, level, landmarks):
  """[5, 2] float64: the mean over views; `landmarks` if none shows a face."""
  centre, middle = box[:2] + box[2:] / 2, _VIEW_SIZE / 2
  found = []
  for face_size, shift, mirrored in _VIEWS:
    turn = face_size / max(box[2:]) * level
    if mirrored:
      turn[0] *= -1
    offset = middle + shift - turn @ centre
    view = alignment.warp(
      image, np.column_stack([turn, offset]), _VIEW_SIZE, extend=True
    )
    rows = _run(network, view)
    if not len(rows):
      continue
    # Neighbours may be in view: the face is in the middle.
    distances = np.abs(rows[:, :2] + rows[:, 2:4] / 2 - middle - shift).max(1)
    nearest = distances.argmin()
    if distances[nearest] > face_size / 4:
      continue
    points = rows[nearest, 4:14].reshape(5, 2)
    points = (points - offset) @ np.linalg.inv(turn).T
    found.append(points[list(_MIRRORED)] if mirrored else points)
  return np.mean(found, axis=0) if found else landmarks
