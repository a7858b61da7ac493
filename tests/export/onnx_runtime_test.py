"""Running ONNX files: any batch, and errors in words."""

import sys

import numpy as np
import pytest

from faceqat.export import onnx_runtime
from faceqat.export.onnx_graph import OnnxGraph


def content(kind='Max'):
  graph = OnnxGraph()
  graph.node(kind, ['a', 'b'], 'y')
  inputs = {name: ((3,), 'int8') for name in 'ab'}
  return graph.model(inputs, {'y': ((3,), 'int8')}, {}).SerializeToString()


def test_arrays_go_in_by_order_and_come_out_by_name():
  run = onnx_runtime.make_runner(content(), threads=2)
  for batch in (1, 4, 2):
    a = np.arange(3 * batch, dtype=np.int8).reshape(batch, 3)
    got = run(a, np.full_like(a, 2))
    assert list(got) == ['y']
    np.testing.assert_array_equal(got['y'], np.maximum(a, 2))


def test_a_wrong_number_of_arrays_is_an_error():
  run = onnx_runtime.make_runner(content())
  with pytest.raises(ValueError, match='has 2 inputs; it got 1 arrays'):
    run(np.zeros((1, 3), np.int8))


@pytest.mark.parametrize(
  'wrong', [np.zeros((1, 3), np.int32), np.zeros((1, 4), np.int8)]
)
def test_a_wrong_array_is_an_error_that_says_what_came(wrong):
  run = onnx_runtime.make_runner(content())
  with pytest.raises(
    ValueError, match=rf'{wrong.dtype}\[1, {wrong.shape[1]}\]'
  ):
    run(wrong, wrong)


@pytest.mark.parametrize('damage', [lambda c: c[:-20], lambda c: b'no model'])
def test_a_damaged_file_is_an_error_that_names_the_runtime(damage):
  with pytest.raises(ValueError, match=r'ONNX Runtime .* does not take'):
    onnx_runtime.make_runner(damage(content()))


def test_a_missing_runtime_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'onnxruntime', None)
  with pytest.raises(ImportError, match='pip install onnxruntime'):
    onnx_runtime.make_runner(b'')
