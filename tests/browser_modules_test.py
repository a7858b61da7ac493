"""The modules of the browser page, in Node, beside what they stand for."""

import base64
import itertools
import json
import pathlib
import platform
import shutil
import subprocess

import cv2
import numpy as np
import onnxruntime
import pytest
from settings import ROOT
from small_programs import small_program

from examples.browser import detector
from faceqat.api import decision
from faceqat.calibration import packaged_files
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.evaluators import rate_table
from faceqat.export import onnx_graph, onnx_integer
from faceqat.faces import alignment, choice, detection, quality
from faceqat.faces.detection import Face
from faceqat.integer import template_score

NODE = shutil.which('node')
pytestmark = pytest.mark.skipif(not NODE, reason='no Node here: install node')
# OpenCV warps with fused multiplications where there are any, as on ARM; its
# number of AVX2 is CV_CPU_AVX2.
FUSED = platform.machine() != 'x86_64' or cv2.checkHardwareSupport(11)


def call(*calls):
  """What functions of the page return, as JSON has it; many in one process."""
  result = subprocess.run(
    [NODE, str(pathlib.Path(__file__).parent / 'support/page_modules.mjs')],
    input=json.dumps(calls),
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  return json.loads(result.stdout)


def numbers(array, kind):
  return {'base64': base64.b64encode(array.tobytes()).decode(), 'type': kind}


def given(image):
  height, width = image.shape[:2]
  data = numbers(np.ascontiguousarray(image), 'Uint8Array')
  return {'width': width, 'height': height, 'data': data}


def pixels(found):
  return np.uint8(found['data']).reshape(found['height'], found['width'], 3)


def noise(rng, height, width):
  """Coarse and fine: every rounding occurs."""
  coarse = rng.integers(0, 256, (height // 7 + 2, width // 7 + 2, 3), np.uint8)
  smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
  fine = smooth + rng.integers(-20, 21, (height, width, 3))
  return np.uint8(np.clip(fine, 0, 255))


def test_images_are_resized_to_opencvs_bits():
  rng = np.random.default_rng(0)
  # Blocks of 2x2, of other whole numbers, of one whole number, of none.
  smaller = [
    *((100, 150, 50, 75), (90, 60, 30, 20), (100, 150, 25, 50)),
    *((101, 150, 37, 50), (150, 107, 96, 68), (33, 200, 33, 100)),
    (77, 64, 70, 64),
  ]
  larger = [(50, 60, 89, 107), (10, 11, 87, 96), (1, 5, 13, 64)]
  calls, wanted = [], []
  for sizes, name, kind in (
    (smaller, 'resizeArea', cv2.INTER_AREA),
    (larger, 'resizeLinear', cv2.INTER_LINEAR),
  ):
    for height, width, new_height, new_width in sizes:
      image = noise(rng, height, width)
      size = new_width, new_height
      wanted.append(cv2.resize(image, size, interpolation=kind))
      calls.append(('resize.js', name, [given(image), *size]))
  for found, image in zip(call(*calls), wanted, strict=True):
    np.testing.assert_array_equal(pixels(found), image)


@pytest.mark.skipif(not FUSED, reason='no AVX2: OpenCV rounds twice here')
def test_images_are_warped_to_opencvs_bits():
  rng = np.random.default_rng(1)
  calls, wanted = [], []
  for index in range(24):
    image = noise(rng, *rng.integers(40, 260, 2))
    turn = rng.uniform(0.15, 2.5) * np.exp(1j * rng.uniform(-3, 3))
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    matrix[0] *= (-1) ** index
    # Some of the frames reach far outside.
    centre = rng.uniform(0, 1, 2) * image.shape[1::-1]
    matrix = np.column_stack([matrix, 56 - matrix @ centre])
    height, width = ((112, 112), (112, 96), (128, 128))[index % 3]
    extend = index % 4 == 0
    wanted.append(alignment.warp(image, matrix, (height, width), extend))
    arguments = [given(image), matrix.ravel().tolist(), width, height, extend]
    calls.append(('alignment.js', 'warp', arguments))
  for found, image in zip(call(*calls), wanted, strict=True):
    np.testing.assert_array_equal(pixels(found), image)


@pytest.fixture(scope='module')
def faces():
  """Drawn photographs, and their faces: upright, and one that is tilted."""
  detect = detection.make_detector()
  people = SyntheticFaces(2, 2, 180, seed=1789, first_person=5)
  images = [people[index]['image'] for index in range(4)]
  turn = cv2.getRotationMatrix2D((90, 90), 30, 0.8)
  images.append(cv2.warpAffine(images[0], turn, (180, 180)))
  found = [(image, detect(image)) for image in images]
  assert all(len(faces) == 1 for _, faces in found)
  return [(image, faces[0]) for image, faces in found]


@pytest.mark.skipif(not FUSED, reason='no AVX2: OpenCV rounds twice here')
def test_faces_are_aligned_and_measured_as_in_python(faces):
  size = (112, 112)
  template = alignment.template_points('arcface', size).tolist()
  settings = {'arcface': template, 'frontal': quality.FRONTAL.tolist()}
  calls = []
  for image, face in faces:
    landmarks = face.landmarks.tolist()
    calls += [
      (
        'alignment.js',
        'alignPoints',
        [given(image), landmarks, template, size],
      ),
      ('faces.js', 'measure', [given(image), as_json(face), settings]),
    ]
  found = iter(call(*calls))
  for image, face in faces:
    crop = alignment.align_points(image, face.landmarks)
    np.testing.assert_array_equal(pixels(next(found)), crop)
    # Sums of doubles in another order.
    wanted = pytest.approx(quality.measure(image, face)._asdict(), rel=1e-9)
    assert next(found) == wanted


def as_json(face):
  return {
    'box': face.box.tolist(),
    'landmarks': face.landmarks.tolist(),
    'score': face.score,
  }


def test_what_is_not_usable_is_said_in_the_same_words():
  bars = quality.Bars()
  usable = quality.Quality(80.0, 3.0, 3.0, 0.0, 0.1, 1.0)
  cases = [
    usable,
    usable._replace(size=12.3),
    usable._replace(yaw=-62.2),
    usable._replace(pitch=57.0),
    usable._replace(exposed=0.28),
    usable._replace(sharpness=0.0071),
  ]
  found = call(
    *(('faces.js', 'whyNot', [x._asdict(), vars(bars)]) for x in cases)
  )
  assert found == [quality.why_not(x, bars) for x in cases]
  assert len({*found}) == len(cases)


def test_the_largest_face_is_taken_unless_another_is_nearly_as_large():
  sides = ((10, 20), (10, 14), (10, 15), (9, 14), (20,), (10, 10, 30))
  groups = [
    [
      Face(np.array([i, 0.0, w, w]), np.zeros([5, 2]), 0.9)
      for i, w in enumerate(widths)
    ]
    for widths in sides
  ]
  calls = []
  for group in groups:
    shown = [as_json(face) for face in group]
    calls += [
      ('faces.js', 'bySize', [shown]),
      ('faces.js', 'isAmbiguous', [shown]),
    ]
  found = iter(call(*calls))
  for group in groups:
    shape = (100, 100, 3)
    order = [as_json(x) for x in choice.choose(group, 'all', shape)]
    assert next(found) == order
    assert next(found) == choice.is_ambiguous(group, 'largest', shape)


def test_detection_decodes_what_the_network_gives(faces):
  """ONNX Runtime here, OpenCV there: floats in another order."""
  session = onnxruntime.InferenceSession(detector.to_bytes())
  names = [output.name for output in session.get_outputs()]
  yunet = cv2.FaceDetectorYN.create(
    'onnx',
    np.fromfile(detection.packaged_weights(), np.uint8),
    np.empty(0, np.uint8),
    (64, 64),
    0.6,
  )
  calls, wanted = [], []
  images = [image for image, _ in faces]
  images.append(np.concatenate([images[0], images[2]], axis=1))
  for image in images:
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    height, width = (-(-side // 32) * 32 for side in image.shape[:2])
    blob = np.zeros([1, 3, height, width], np.float32)
    blob[0, :, : image.shape[0], : image.shape[1]] = bgr.transpose(2, 0, 1)
    outputs = dict(zip(names, session.run(names, {'input': blob})))
    outputs = {k: numbers(v, 'Float32Array') for k, v in outputs.items()}
    run = {'outputs': outputs}
    calls.append(('detection.js', 'detectOnce', [run, given(image)]))
    yunet.setInputSize(image.shape[1::-1])
    wanted.append(yunet.detect(bgr)[1])
  for found, rows in zip(call(*calls), wanted, strict=True):
    # In pixels: over 60 photographs of CelebA 9e-5 is the most.
    np.testing.assert_allclose(found, rows, rtol=0, atol=1e-3)
  assert len(wanted[-1]) == 2


def test_scores_are_exact():
  rng = np.random.default_rng(2)
  pairs = rng.integers(-254, 255, (50, 2, 128))
  pairs[0, 1] = pairs[0, 0]
  pairs[1, 1] = -pairs[1, 0]
  pairs[2, 1] = 0
  # Nearly the same direction: the last bit depends on every product.
  pairs[3:20, 1] = pairs[3:20, 0] + rng.integers(-1, 2, (17, 128))
  found = call(*(('decision.js', 'score', pair.tolist()) for pair in pairs))
  assert found == [template_score.score(*pair) for pair in pairs]
  assert found[:3] == [template_score.ONE, -template_score.ONE, 0]


def test_rates_are_said_in_the_same_words():
  table = rate_table.load(packaged_files.rates_path_of('sface_int8'))
  fields = json.loads(rate_table.to_text(table))
  thresholds = [row.threshold for row in table.rows]
  between = [(a + b) / 2 for a, b in itertools.pairwise(thresholds)]
  scores = [-0.2, *thresholds, *between, 0.9]
  row, *found = call(
    ('decision.js', 'defaultRow', [fields]),
    *(('decision.js', 'rateOfScore', [fields, score]) for score in scores),
  )
  assert row['threshold'] == rate_table.default_row(table).threshold
  for score, rate in zip(scores, found, strict=True):
    wanted = decision.rate_of_score(table, score)
    assert rate['words'] == wanted.describe()
    shown = [rate[name] for name in ('value', 'low', 'high')]
    assert shown == [wanted.value, wanted.low, wanted.high]


def test_the_metadata_of_a_network_is_read():
  program = small_program(metadata={'model': 'größer', 'match_rates': '{}'})
  content = onnx_graph.to_bytes(onnx_integer.to_model(program))
  (found,) = call(
    (
      'metadata.js',
      'readMetadata',
      [numbers(np.uint8([*content]), 'Uint8Array')],
    )
  )
  assert found['model'] == 'größer'
  assert found['match_rates'] == '{}'
  assert found['contract'] == 'tflite_ref'
  assert 'program-sha256:' in found['program_digest']


CONSTANTS = {
  ('detection.js', 'LONGEST_SIDES'): list(detection._LONGEST_SIDES),
  ('detection.js', 'MAX_OVERLAP'): detection._MAX_OVERLAP,
  ('detection.js', 'VIEW_SIZE'): detection._VIEW_SIZE,
  ('detection.js', 'VIEWS'): [list(view) for view in detection._VIEWS],
  ('detection.js', 'MAX_ROUNDS'): detection._MAX_ROUNDS,
  ('detection.js', 'MIRRORED'): list(detection._MIRRORED),
  ('detection.js', 'UPRIGHT_DEGREES'): pytest.approx(
    np.degrees(np.arccos(detection._UPRIGHT)), rel=1e-9
  ),
  ('faces.js', 'CLEAR_LEAD'): choice._CLEAR_LEAD,
  ('faces.js', 'NOSE_DEPTH'): quality._NOSE_DEPTH,
  ('faces.js', 'DARK'): quality._DARK,
  ('faces.js', 'BRIGHT'): quality._BRIGHT,
  ('faces.js', 'FACE'): [
    bound for part in quality._FACE for bound in (part.start, part.stop)
  ],
  ('decision.js', 'ONE'): template_score.ONE,
}


def test_constants_are_pythons():
  found = call(*((*name, []) for name in CONSTANTS))
  assert dict(zip(CONSTANTS, found)) == CONSTANTS


def test_no_registry_is_named_where_packages_are_pinned():
  """Whoever installs chooses their own; `npm ci` needs none of it."""
  lock = json.loads((ROOT / 'examples/browser/package-lock.json').read_text())
  assert 'http' not in json.dumps(lock)
  package = lock['packages']['node_modules/onnxruntime-web']
  assert package['integrity'].startswith('sha512-')
