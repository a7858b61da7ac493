"""Exported files, read without their program; embedders_test runs networks."""

import numpy as np
import onnx
import pytest
from small_programs import PROGRAM

from faceqat.export import exported, tflite
from faceqat.export.formats import FORMATS

READERS = {'.tflite': exported.read_tflite, '.onnx': exported.read_onnx}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)


def read(folder, name, change=lambda content: content):
  path = folder / FORMATS[name].file
  path.write_bytes(change(FORMATS[name].to_bytes(PROGRAM)))
  return READERS[path.suffix](path)


def without_digests(content):
  return content.replace(b'-sha256:', b'-unknown')


@pytest.mark.parametrize('change', [bytes, without_digests])
def test_what_is_in_a_file_is_read_and_run(change, tmp_path):
  files = [
    read(tmp_path, name, change) for name in FORMATS if name != 'program'
  ]
  for file in files:
    assert (file.image_size, file.zero_point) == ((4, 4), 0)
    assert file.checked == (change is bytes)
    assert file.metadata['input']
  embeddings = [file.run(IMAGES) for file in files]
  assert embeddings[0].shape == (3, 64)
  assert embeddings[0].dtype == np.int8
  assert np.ptp(embeddings[0]) > 0
  for other in embeddings[1:]:
    np.testing.assert_array_equal(embeddings[0], other)


def test_files_with_other_ends_give_the_same_integers(tmp_path):
  wanted = read(tmp_path, 'tflite')
  for kind in ('uint8', 'float32'):
    content = tflite.to_bytes(PROGRAM, output_type=kind, batch=1)
    (tmp_path / kind).write_bytes(content)
    file = exported.read_tflite(tmp_path / kind)
    assert file.zero_point == wanted.zero_point
    np.testing.assert_array_equal(file.run(IMAGES), wanted.run(IMAGES))


def test_real_numbers_that_are_no_steps_are_refused():
  reals = np.float32([[0.5, -0.25]])
  np.testing.assert_array_equal(exported.to_integers(reals, 0.25, 3), [[5, 2]])
  with pytest.raises(ValueError, match=r'no multiples of their scale, 0\.3'):
    exported.to_integers(reals, 0.3, 3)


def changed_onnx(change):
  def write(content):
    model = onnx.load_from_string(without_digests(content))
    change(model)
    return model.SerializeToString()

  return write


@pytest.mark.parametrize(
  ('name', 'change', 'message'),
  [
    ('tflite', lambda c: c[:-9], 'its SHA-256 does not match'),
    ('onnx', lambda c: c[:-9], 'its SHA-256 does not match'),
    (
      'tflite',
      lambda c: without_digests(c).replace(
        b'{"embedding": [64]}', b'[["embedding", 64]]'
      ),
      'its description is damaged',
    ),
    (
      'tflite',
      lambda c: without_digests(c).replace(b'tflite_ref', b'of_nothing'),
      'was not written by faceqat.convert',
    ),
    (
      'onnx',
      changed_onnx(lambda model: model.ClearField('metadata_props')),
      'was not written by faceqat.convert',
    ),
  ],
)
def test_what_cannot_be_read_is_named(name, change, message, tmp_path):
  with pytest.raises(ValueError, match=message) as caught:
    read(tmp_path, name, change)
  assert str(tmp_path / FORMATS[name].file) in str(caught.value)
