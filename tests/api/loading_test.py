import numpy as np
import pytest
from identify_run import SIZE, find_drawn
from match_tables import make_table
from PIL import Image
from small_programs import PROGRAM, small_program

import faceqat
from faceqat.export import first_images
from faceqat.faces import detection
from faceqat.files.image_size import height_width
from faceqat.identification import embedders
from faceqat.integer import matching
from faceqat.integer import program as integer_program
from faceqat.integer.evaluator import make_evaluator


def make_crops(count, size=4, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, *height_width(size), 3), np.uint8)


def save(program, folder):
  path = folder / 'program.safetensors'
  integer_program.save(program, path)
  return path


@pytest.fixture
def model(tmp_path):
  return faceqat.load(save(PROGRAM, tmp_path))


@pytest.fixture
def photographed(tmp_path, monkeypatch):
  """A model, and what finds a drawn face in each 32 pixels of a picture."""
  monkeypatch.setattr(detection, 'make_detector', find_drawn)
  program = small_program(image=(SIZE, SIZE, 3), channels=16)
  return faceqat.load(save(program, tmp_path))


def test_what_is_loaded_says_what_it_is(model, tmp_path):
  assert (model.precision, model.image_size) == ('integer', (4, 4))
  path = tmp_path / 'program.safetensors'
  assert repr(model) == f'<faceqat.Model {path}, integer, 4x4>'
  with pytest.raises(ValueError, match='absent does not exist'):
    faceqat.load(tmp_path / 'absent')
  with pytest.raises(ValueError, match='does not exist; give the folder of a '):
    faceqat.load('')


def test_a_file_has_no_steps_and_a_contract_of_its_own(model):
  assert faceqat.load(model.name, contract='tflite_ref').digest == model.digest
  with pytest.raises(ValueError, match=r"'xnnpack', and .* has 'tflite_ref'; "):
    faceqat.load(model.name, contract='xnnpack')
  for name in (model.name, 'sface_int8'):
    with pytest.raises(
      ValueError, match=f'{name} has no steps, and not 3; lea'
    ):
      faceqat.load(name, step=3)


@pytest.mark.parametrize('count', [0, 1, 9, 75])
def test_a_batch_of_any_size_has_the_bits_of_the_program(
  count, model, monkeypatch
):
  sizes, predict = [], model.embedder.predict
  monkeypatch.setattr(
    first_images.Predict,
    '__call__',
    lambda self, images: sizes.append(len(images)) or predict._first(images),
  )
  crops = make_crops(75)
  embeddings = model.embed(list(crops[:count]))
  assert (embeddings.dtype, embeddings.shape) == (np.int8, (count, 64))
  expected = np.asarray(make_evaluator(PROGRAM)(crops))
  np.testing.assert_array_equal(embeddings, expected[:count])
  # For each of which a network is compiled.
  assert {*sizes} <= {1, 8, 64}
  assert sum(sizes) == max(count, 1)


def test_mirror_images_are_added(model):
  crops = make_crops(9)
  both = model.embed(crops, mirrored=True)
  assert both.dtype == np.int16
  plain, other = (
    model.embed(x).astype(int) for x in (crops, crops[:, :, ::-1])
  )
  np.testing.assert_array_equal(both, plain + other)


def test_embeddings_with_a_zero_point_are_wider(tmp_path):
  model = faceqat.load(save(small_program(), tmp_path))
  crops = make_crops(2, 2)
  embeddings = model.embed(crops)
  raw = np.asarray(make_evaluator(small_program())(crops)).astype(int)
  np.testing.assert_array_equal(embeddings, raw - 3)
  assert embeddings.dtype == np.int16


def test_a_network_in_floats_embeds_floats(model):
  values = np.array([[3, 4], [np.nan, 0]], np.float32)
  embedder = embedders.Embedder(
    lambda images: values[images[:, 0, 0, 0]],
    image_size=(4, 4),
    stored_size=0,
    precision='float',
    fingerprint=None,
    network=None,
    digest=lambda size: 'ab' * 32,
    checked=True,
  )
  model = type(model)(embedder, 'a run')
  black, broken = np.zeros([2, 4, 4, 3], np.uint8)
  broken[0, 0, 0] = 1
  assert model.embed([black]).tolist() == [[3, 4]]
  assert model.embed([black], mirrored=True).tolist() == [[6, 8]]
  assert model.verify(black, black, threshold=0.5, aligned=True).same
  with pytest.raises(ValueError, match='1 of 1 embeddings are not finite'):
    model.embed([broken])


@pytest.mark.parametrize(
  ('crops', 'message'),
  [
    (make_crops(2, 5), r'uint8 \[5, 5, 3\], wanted uint8 \[4, 4, 3\]'),
    (make_crops(2)[0], r'uint8 \[4, 4, 3\], a single one: give \[N, H, W, 3\]'),
    (iter([]), 'the crops are of type list_iterator, wanted uint8'),
    (None, 'the crops are of type NoneType, wanted uint8'),
    ('a.jpg', 'the crops are of type str, wanted uint8'),
    (['a.jpg'], 'a crop is of type str, wanted uint8'),
    (make_crops(2).astype(np.float32), r'a crop is float32 \[4, 4, 3\]'),
  ],
)
def test_what_is_no_crop_is_refused(crops, message, model):
  with pytest.raises(ValueError, match=message):
    model.embed(crops)


def test_the_faces_of_a_photograph_are_cut_out(photographed, tmp_path):
  picture = make_crops(1, (SIZE, 2 * SIZE))[0]
  Image.fromarray(picture).save(tmp_path / 'two.png')
  faces = photographed.detect(tmp_path / 'two.png')
  assert [face.box.tolist() for face in faces] == [
    [0, 0, SIZE, SIZE],
    [SIZE, 0, SIZE, SIZE],
  ]
  assert repr(faces[1]) == (
    f'<faceqat.Face crop [{SIZE}, {SIZE}, 3], box [{SIZE}, 0, {SIZE}, {SIZE}], '
    f'score {faces[1].score:.2f}>'
  )
  again = photographed.detect(picture)
  for face, other in zip(faces, again, strict=True):
    assert face.crop.shape == (SIZE, SIZE, 3)
    assert face.landmarks.shape == (5, 2)
    assert 0 < face.score < 1
    assert (face.quality.size, face.why_not) == (SIZE, '')
    np.testing.assert_array_equal(face.crop, other.crop)
  embeddings = photographed.embed([face.crop for face in faces])
  assert embeddings.shape == (2, 16)
  np.testing.assert_array_equal(photographed.embed(faces), embeddings)
  with pytest.raises(ValueError, match='a single one: give'):
    photographed.embed(faces[0])
  assert photographed.detect(np.zeros_like(picture)) == []
  with pytest.raises(ValueError, match=r'float64 \[2, 2\], wanted uint8'):
    photographed.detect(np.zeros([2, 2]))


@pytest.mark.parametrize(
  'wrong', [None, b'a.jpg', [], Image.new('RGB', (4, 4))]
)
def test_what_is_no_photograph_is_refused(wrong, model):
  message = f'of type {type(wrong).__name__}, wanted uint8 .*, or a path'
  with pytest.raises(ValueError, match=message):
    model.detect(wrong)
  with pytest.raises(ValueError, match=message):
    model.verify(wrong, 'a.jpg')


def test_photographs_are_compared_with_a_threshold(photographed):
  one, other = make_crops(2, SIZE)
  same = photographed.verify(one, one, threshold=0.9)
  assert same.same is True
  assert same.score == pytest.approx(1, abs=2**-28)
  assert (same.threshold, same.why_not) == (0.9, '')
  assert same.false_match_rate is None
  unknown = photographed.verify(one, other)
  assert unknown.same is None
  assert 'give a threshold' in unknown.why_not
  # As `identify` compares them: each with its mirror image.
  crops = [photographed.detect(image)[0].crop for image in (one, other)]
  views = photographed.embed(crops, mirrored=True)
  assert unknown.score == int(matching.cosine(*views)) / matching.ONE
  for wrong in (2, np.nan, '0.4'):
    with pytest.raises(ValueError, match=': a cosine is between -1 and 1'):
      photographed.verify(one, other, threshold=wrong)
    with pytest.raises(ValueError, match=f'score is {wrong!r}, wanted a numb'):
      photographed.false_match_rate(wrong)


def test_a_measured_network_has_a_threshold_and_rates(photographed):
  object.__setattr__(photographed.embedder, 'table', make_table())
  assert photographed.threshold == 0.375
  one, other = make_crops(2, SIZE)
  found = photographed.verify(one, one)
  assert (found.same, found.threshold) == (True, 0.375)
  assert found.false_match_rate == photographed.false_match_rate(1.0)
  assert found.false_match_rate.value == 1e-5
  aligned = photographed.verify(one, other, aligned=True)
  assert aligned.same is (aligned.score >= 0.375)


def test_why_a_photograph_cannot_be_used_is_said(photographed, tmp_path):
  one, two = make_crops(1, SIZE)[0], make_crops(1, (SIZE, 2 * SIZE))[0]
  nobody = np.zeros_like(one)
  for a, b, why in (
    (one, nobody, 'no face is found in the second image'),
    (two, one, 'the first image shows several faces of similar size'),
    (
      one // 16,
      one,
      'the face in the first image is not usable: 100% of it is black or white',
    ),
  ):
    found = photographed.verify(a, b)
    assert (found.same, found.score) == (None, None)
    assert found.why_not.startswith(why)
  with pytest.raises(ValueError, match=r'none\.jpg is not there'):
    photographed.verify(one, tmp_path / 'none.jpg')
