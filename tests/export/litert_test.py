"""The LiteRT runner: any batch, clear refusals."""

import importlib
import sys

import numpy as np
import pytest

from faceqat.export import litert, tflite, tflite_builder
from faceqat.integer import operators as ops
from faceqat.integer.tensors import Tensor

CONTRACTS = ['tflite_ref', 'xnnpack']


def small_graph():
  """A squeeze and a gate: a vector beside an image."""
  tensors = {
    tensor.name: tensor
    for tensor in (
      Tensor('image', (4, 5, 8), 0.05, 3),
      Tensor('gate', (8,), 1 / 256, -128),
      Tensor('gated', (4, 5, 8), 0.03, -9),
      Tensor('flat', (160,), 0.03, -9),
    )
  }
  operators = [
    ops.Mul(name='gated', inputs=('image', 'gate')),
    ops.Reshape(name='flat', inputs=('gated',)),
  ]
  return tflite.operators_to_bytes(
    tensors, operators, ['image', 'gate'], ['gated', 'flat']
  )


def draw(batch_size):
  rng = np.random.default_rng(batch_size)
  shapes = [(batch_size, 4, 5, 8), (batch_size, 8)]
  return [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]


@pytest.mark.parametrize('contract', CONTRACTS)
def test_any_batch_gives_each_image_its_own_result(contract):
  run = litert.make_runner(small_graph(), contract)
  for batch_size in (3, 1, 5, 3):
    arrays = draw(batch_size)
    results = run(*arrays)
    assert {name: value.shape for name, value in results.items()} == {
      'gated': (batch_size, 4, 5, 8),
      'flat': (batch_size, 160),
    }
    np.testing.assert_array_equal(
      results['flat'], results['gated'].reshape(batch_size, -1)
    )
    for index in range(batch_size):
      alone = run(*(array[index : index + 1] for array in arrays))
      for name, value in alone.items():
        np.testing.assert_array_equal(value[0], results[name][index])


def test_results_outlive_the_next_run():
  run = litert.make_runner(small_graph(), 'tflite_ref')
  first = run(*draw(2))
  copy = first['gated'].copy()
  run(*(-1 - array for array in draw(2)))
  np.testing.assert_array_equal(first['gated'], copy)


def test_an_unknown_contract_is_named():
  with pytest.raises(ValueError, match=r"'onnx'; LiteRT keeps \['tflite_ref"):
    litert.make_runner(small_graph(), 'onnx')


@pytest.mark.parametrize('damage', ['foreign', 'cut'])
def test_a_file_that_is_none_is_refused(damage):
  content = small_graph()
  content = b'PK\x03\x04' * 40 if damage == 'foreign' else content[:300]
  with pytest.raises(ValueError, match='LiteRT does not take the file: '):
    litert.make_runner(content, 'tflite_ref')


def test_inputs_that_do_not_fit_are_refused():
  run = litert.make_runner(small_graph(), 'tflite_ref')
  image, gate = draw(2)
  with pytest.raises(ValueError, match='has 2 inputs; it got 1 arrays'):
    run(image)
  with pytest.raises(
    ValueError, match=r"'image' takes int8 \[B, 4, 5, 8\]; it got uint8"
  ):
    run(image.view(np.uint8), gate)
  with pytest.raises(ValueError, match=r"'gate' .* it got int8\[1, 8\]"):
    run(image, gate[:1])
  with pytest.raises(ValueError, match=r'it got int8\[2, 5, 4, 8\]'):
    run(image.swapaxes(1, 2), gate)


def test_a_missing_package_is_named(monkeypatch):
  content = small_graph()
  monkeypatch.setitem(sys.modules, 'ai_edge_litert', None)
  with pytest.raises(ImportError, match='pip install ai-edge-litert'):
    litert.make_runner(content, 'tflite_ref')
  monkeypatch.delitem(sys.modules, 'faceqat.export.tflite_builder')
  with pytest.raises(ImportError, match='pip install ai-edge-litert'):
    importlib.import_module('faceqat.export.tflite_builder')


def test_a_damaged_description_is_a_value_error():
  content = small_graph()
  assert tflite_builder.read_metadata(content)['shapes']
  at = content.find(b'"shapes"')
  for damaged in (
    content.replace(b'{"', b'["', 1),
    content[: at - 40],
    b'\xff' * 64,
    content[:8],
    b'',
  ):
    with pytest.raises(ValueError, match=r'description is damaged .*export'):
      tflite_builder.read_metadata(damaged)
