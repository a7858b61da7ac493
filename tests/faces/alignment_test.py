import cv2
import numpy as np
import pytest
import real_data
from PIL import Image

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.faces import alignment, detection

LFW = real_data.path('data/lfw/images')
TEMPLATE = alignment.ARCFACE_TEMPLATE


def similarity(angle, scale, shift):
  turn = scale * np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )
  return np.column_stack([turn, shift])


def move(matrix, points):
  return points @ matrix[:, :2].T + matrix[:, 2]


def drawn_face(size, person=0):
  return SyntheticFaces(2, 1, size, seed=3)[person]['image']


@pytest.mark.parametrize('angle', [0, 0.3, -1.2, 3.1])
@pytest.mark.parametrize('scale', [0.05, 1, 7])
def test_a_similarity_is_found_again(angle, scale):
  matrix = similarity(angle, scale, [500, -30])
  found = alignment.estimate_similarity(TEMPLATE, move(matrix, TEMPLATE))
  # Float64: some 16 digits of values below 1,000.
  np.testing.assert_allclose(found, matrix, atol=1e-10)


def test_the_estimate_is_the_least_squares_solution():
  rng = np.random.default_rng(0)
  points = TEMPLATE + rng.normal(0, 9, (5, 2))
  # The same problem as linear equations for a, b and the shift.
  x, y = points.T
  one, zero = np.ones(5), np.zeros(5)
  equations = np.concatenate(
    [np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)]
  )
  a, b, right, down = np.linalg.lstsq(equations, TEMPLATE.T.ravel())[0]
  np.testing.assert_allclose(
    alignment.estimate_similarity(points, TEMPLATE),
    [[a, -b, right], [b, a, down]],
    atol=1e-10,
  )


def test_a_face_in_a_mirror_is_not_mirrored_back():
  matrix = alignment.estimate_similarity(TEMPLATE * [-1, 1], TEMPLATE)
  assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
  ('landmarks', 'message'),
  [
    (np.zeros((5, 2)), 'span no face'),
    (np.full((5, 2), np.nan), 'span no face'),
    (np.full((5, 2), np.inf), 'span no face'),
    (np.zeros((4, 2)), r'shape \(4, 2\), wanted \(5, 2\)'),
    (np.zeros(10), r'shape \(10,\), wanted \(5, 2\)'),
  ],
)
@pytest.mark.filterwarnings('ignore:invalid value:RuntimeWarning')
def test_landmarks_that_are_none_are_refused(landmarks, message):
  with pytest.raises(ValueError, match=message):
    alignment.align_points(drawn_face(64), landmarks)


@pytest.mark.parametrize('size', [112, 56, 224])
def test_landmarks_come_to_lie_on_the_template(size):
  # A bright spot of three pixels' width at each landmark, in turns.
  matrix = similarity(0.4, 2.5, [120, 60])
  landmarks = move(matrix, TEMPLATE)
  for point, wanted in zip(landmarks, TEMPLATE * size / 112):
    y, x = np.mgrid[:500, :500]
    spot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 3**2))
    image = np.repeat((255 * spot)[..., None], 3, axis=-1).astype(np.uint8)
    crop = alignment.align_points(image, landmarks, size)[..., 0].astype(float)
    y, x = np.mgrid[:size, :size]
    centre = [(x * crop).sum() / crop.sum(), (y * crop).sum() / crop.sum()]
    # 8-bit pixels move the centre of a spot by less than a tenth of one.
    np.testing.assert_allclose(centre, wanted, atol=0.1)


def test_landmarks_on_the_template_leave_the_crop_as_it_is():
  image = drawn_face(112)
  np.testing.assert_array_equal(alignment.align_points(image, TEMPLATE), image)


def test_spherefaces_crop_is_insightfaces_without_its_sides():
  # As SphereFace's own code has it, x and y of each point.
  points = [
    [30.2946, 51.6963],
    [65.5318, 51.5014],
    [48.0252, 71.7366],
    [33.5493, 92.3655],
    [62.7299, 92.2041],
  ]
  np.testing.assert_allclose(
    alignment.template_points('sphereface', (112, 96)), points, atol=1e-9
  )
  image, landmarks = drawn_face(224), 1.7 * TEMPLATE + [3, 9]
  whole = alignment.align_points(image, landmarks)
  narrow = alignment.align_points(image, landmarks, (112, 96), 'sphereface')
  assert narrow.shape == (112, 96, 3)
  # OpenCV interpolates in steps of a 32nd of a pixel.
  error = np.abs(narrow.astype(int) - whole[:, 8:-8])
  assert error.mean() < 0.2
  half = alignment.align_points(image, landmarks, (56, 48), 'sphereface')
  assert half.shape == (56, 48, 3)


@pytest.mark.parametrize(
  ('template', 'size'), [('arcface', (112, 96)), ('sphereface', 112)]
)
def test_a_template_has_its_own_proportions(template, size):
  message = f'other proportions than the template {template!r}: arcface is for'
  with pytest.raises(ValueError, match=message):
    alignment.align_points(drawn_face(64), TEMPLATE, size, template)


@pytest.mark.parametrize(
  ('size', 'template'),
  [
    (112, 'arcface'),
    ((56, 48), 'sphereface'),
    # It says then that it is for other sizes.
    ((50, 80), 'arcface'),
  ],
)
def test_a_size_has_a_usual_template(size, template):
  assert alignment.usual_template(size) == template


@pytest.mark.parametrize('angle', [0.0, 0.5, -2.0])
@pytest.mark.parametrize('scale', [0.8, 2.0, 6.5])
def test_a_turned_and_scaled_face_returns_to_the_same_crop(angle, scale):
  image = drawn_face(448)
  at = 448 / 112 * TEMPLATE
  expected = alignment.align_points(image, at)
  side = int(448 * scale * 1.5)
  centre = np.array([223.5, 223.5])
  matrix = similarity(angle, scale, [0, 0])
  matrix[:, 2] = side / 2 - matrix[:, :2] @ centre
  photograph = cv2.warpAffine(
    image, matrix, (side, side), flags=cv2.INTER_CUBIC
  )
  crop = alignment.align_points(photograph, move(matrix, at))
  # What is left are two interpolations, at sharp edges: 2.1 at most. Half a
  # pixel off would be 3.
  error = np.abs(crop.astype(int) - expected)[8:-8, 8:-8].mean()
  assert error < 2.5


def test_fine_structures_of_a_large_face_do_not_alias():
  # Columns in turns black and white, of which the mean is grey.
  image = np.zeros((1500, 1500, 3), np.uint8)
  image[:, ::2] = 255
  for factor in (2.5, 4, 10):
    crop = alignment.align_points(image, TEMPLATE * factor + 100)
    # Where blocks do not divide the image, they are a little uneven.
    np.testing.assert_allclose(crop, 127.5, atol=1 if factor < 10 else 20)


def test_a_part_of_a_very_wide_photograph_is_aligned():
  # OpenCV's warp takes no more than 32,767 columns.
  image = np.zeros((120, 40_000, 3), np.uint8)
  face = drawn_face(112)
  image[4:116, 39_000:39_112] = face
  crop = alignment.align_points(image, TEMPLATE + np.array([39_000, 4]))
  np.testing.assert_array_equal(crop, face)


def test_outside_of_the_photograph_is_black_or_its_border():
  image = np.full((100, 100, 3), 200, np.uint8)
  shifted = np.array([[1.0, 0, 50], [0, 1, 0]])
  crop = alignment.warp(image, shifted, 100)
  assert (crop[:, :49] == 0).all()
  assert (crop[:, 51:] == 200).all()
  assert (alignment.warp(image, shifted, 100, extend=True) == 200).all()
  away = np.array([[1.0, 0, 5000], [0, 1, 0]])
  assert (alignment.warp(image, away, 100) == 0).all()


@real_data.needs(LFW)
def test_lfw_crops_are_aligned_again_where_they_were():
  detect = detection.make_detector()
  moved = []
  for person in sorted(LFW.iterdir())[::300]:
    crop = np.asarray(Image.open(min(person.iterdir())))
    padded = np.pad(crop, [(22, 22), (22, 22), (0, 0)], 'edge')
    face = max(detect(padded), key=lambda face: face.box[2])
    matrix = alignment.estimate_similarity(face.landmarks - 22, TEMPLATE)
    moved.append(np.linalg.norm(move(matrix, TEMPLATE) - TEMPLATE, axis=1))
  # They were made from one view by YuNet each, which moves crops by about
  # three pixels (benchmarks/detectors.py).
  assert np.mean(moved) < 4


def test_margin_counts_in_pixels_of_the_crop():
  image = np.zeros((400, 400, 3), np.uint8)
  image[100:300, 150:250] = 255
  crop = alignment.crop_with_margin(image, [150, 100, 100, 200])
  assert crop.shape == (160, 160, 3)
  # The box fills 160 - 32 pixels in both directions, stretched as it may be.
  np.testing.assert_array_equal(crop[20:140, 20:140], 255)
  np.testing.assert_array_equal(crop[:14], 0)
  np.testing.assert_array_equal(crop[:, -14:], 0)
  white = (crop[..., 0] > 127).sum(axis=0).max()
  assert white == 128


def test_margin_counts_on_each_axis_of_an_oblong_crop():
  image = np.zeros((400, 400, 3), np.uint8)
  image[100:300, 150:250] = 255
  crop = alignment.crop_with_margin(image, [150, 100, 100, 200], (160, 128))
  assert crop.shape == (160, 128, 3)
  white = crop[..., 0] > 127
  assert white.sum(axis=0).max() == 128
  assert white.sum(axis=1).max() == 96
  with pytest.raises(ValueError, match='less than the size, 160x96'):
    alignment.crop_with_margin(image, [0, 0, 9, 9], (160, 96), margin=96)


def test_margin_depends_not_on_the_size_of_the_photograph():
  box = np.array([100, 80, 120, 150])
  small = drawn_face(300)
  large = np.repeat(np.repeat(small, 4, axis=0), 4, axis=1)
  error = alignment.crop_with_margin(small, box).astype(int)
  error -= alignment.crop_with_margin(large, 4 * box)
  # Edges that are enlarged on one side only: 0.8; four pixels more margin
  # would be 9.
  assert np.abs(error).mean() < 2


def test_margin_is_cut_off_at_the_border_of_the_photograph():
  image = np.full((100, 100, 3), 200, np.uint8)
  for box in ([-20, -20, 60, 60], [70, 70, 60, 60], [-5, -5, 200, 200]):
    assert (alignment.crop_with_margin(image, box) == 200).all()


def test_no_margin_is_the_box():
  image = drawn_face(160)
  np.testing.assert_array_equal(
    alignment.crop_with_margin(image, [0, 0, 160, 160], margin=0), image
  )


@pytest.mark.parametrize(
  'box', [[300, 0, 50, 50], [10, 10, 0, 20], [-60, 0, 10, 10], [np.nan] * 4]
)
def test_boxes_outside_of_the_photograph_are_refused(box):
  with pytest.raises(ValueError, match='no part in the image of 100x100'):
    alignment.crop_with_margin(drawn_face(100), box)


@pytest.mark.parametrize('margin', [-1, 160])
def test_margins_that_leave_no_place_are_refused(margin):
  with pytest.raises(ValueError, match=f'margin is {margin}'):
    alignment.crop_with_margin(drawn_face(100), [0, 0, 50, 50], margin=margin)
