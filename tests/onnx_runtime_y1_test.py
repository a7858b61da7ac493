"""The ONNX model made of MXNet's files computes what their graph says."""

import mxnet_files
import mxnet_interpreter
import numpy as np
import pytest

from benchmarks import onnx_runtime_y1


def save(folder, change=lambda network: None):
  network = mxnet_files.Y1(32)
  change(network)
  return network.save(folder)


@pytest.mark.parametrize('fix_gamma', ['True', 'False'])
def test_embeddings_are_those_of_the_graph(tmp_path, fix_gamma):
  def change(network):
    network.node('fc1')['attrs']['fix_gamma'] = fix_gamma
    network.tensors['arg:fc1_gamma'] = np.full(128, 2, np.float32)

  path = save(tmp_path, change)
  images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  predict = onnx_runtime_y1.make_onnx_predict(onnx_runtime_y1.build(path), 1)
  graph = path.with_name('model-symbol.json').read_text()
  params = mxnet_interpreter.read_params(path.read_bytes())
  expected = mxnet_interpreter.run(graph, params, images)['fc1']
  # Fifty layers of float32 sums in any order, against float64: ten roundings by
  # 2^-24 a layer are 3e-5. A layer in a wrong place changes all of it.
  tolerance = 3e-5 * np.abs(expected).max()
  np.testing.assert_allclose(predict(images), expected, atol=tolerance)


@pytest.mark.parametrize(
  ('name', 'field', 'value', 'match'),
  [
    ('res_3_plus0', 'op', 'elemwise_mul', 'res_3_plus0 is a elemwise_mul'),
    ('conv_6sep_relu', 'attrs', {'act_type': 'elu'}, 'LeakyReLU elu, wanted'),
    ('fc1_weight', 'name', 'fc2_weight', 'lacks the tensor fc2_weight'),
  ],
)
def test_what_has_no_translation_is_refused(
  tmp_path, name, field, value, match
):
  path = save(
    tmp_path, lambda network: network.node(name).update({field: value})
  )
  with pytest.raises(ValueError, match=match):
    onnx_runtime_y1.build(path)
