import numpy as np
import pytest
from small_programs import small_program

from faceqat.evaluators import predict
from faceqat.export import first_images


@pytest.mark.parametrize('contract', ['tflite_ref', 'xnnpack'])
def test_the_first_images_have_the_bits_of_those_that_follow(
  contract, monkeypatch
):
  program = small_program(image=(4, 4, 3), contract=contract)
  images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
  run = first_images.Predict(program)
  compiled = []
  make = predict.make_integer_predict
  monkeypatch.setattr(
    predict,
    'make_integer_predict',
    lambda program: compiled.append(program) or make(program),
  )
  first = run(images)
  for _ in range(first_images.FIRST // len(images)):
    assert not compiled
    later = run(images)
  assert compiled == [program]
  assert first.dtype == later.dtype == np.int16
  np.testing.assert_array_equal(first, later)
