"""MXNet's graphs are read in the spellings of its versions."""

import json
import pathlib

import pytest

from faceqat.models.weights import mxnet_symbol
from faceqat.models.weights.mxnet_symbol import Node


def read(tmp_path, content):
  path = tmp_path / 'net-symbol.json'
  path.write_text(content)
  return mxnet_symbol.read_symbol(path)


@pytest.mark.parametrize('inputs', [[[0, 0]], [[0, 0, 0]]])
@pytest.mark.parametrize('key', ['param', 'attr', 'attrs'])
def test_attributes_are_found_where_each_version_has_them(
  tmp_path, key, inputs
):
  nodes = [
    {'op': 'null', 'name': 'data', 'inputs': []},
    {
      'op': 'BatchNorm',
      'name': 'bn',
      'inputs': inputs,
      key: {'eps': '2e-05', 'fix_gamma': 'False'},
    },
  ]
  data, norm = read(tmp_path, json.dumps({'nodes': nodes}))
  assert data == Node('null', 'data', (), {})
  assert (norm.operator, norm.name, norm.inputs) == (
    'BatchNorm',
    'bn',
    ('data',),
  )
  assert norm.number('eps', 1e-3) == 2e-5
  assert not norm.flag('fix_gamma', True)


def test_what_is_left_out_has_the_default():
  node = Node('BatchNorm', 'bn', (), {})
  assert node.number('eps', 1e-3) == 1e-3
  assert node.flag('fix_gamma', True)
  assert not node.flag('no_bias', False)
  assert node.pair('stride', 1) == (1, 1)


@pytest.mark.parametrize('text', ['(2, 3)', '(2L, 3L)', '[2,3]'])
def test_pairs_are_read_in_every_spelling(text):
  assert Node('', '', (), {'pad': text}).pair('pad', 0) == (2, 3)
  assert Node('', '', (), {'pad': '()'}).pair('pad', 0) == (0, 0)


@pytest.mark.parametrize('name', ['model-0012.params', 'model.params'])
def test_the_graph_lies_beside_the_tensors(name):
  path = mxnet_symbol.symbol_path(f'folder/{name}')
  assert path == pathlib.Path('folder/model-symbol.json')


def scaled(*steps):
  nodes, last = [Node('null', 'data', (), {})], 'data'
  for index, (operator, scalar) in enumerate(steps):
    node = Node(operator, f'step{index}', (last,), {'scalar': scalar})
    nodes.append(node)
    last = node.name
  return [*nodes, Node('Convolution', 'conv', (last, 'weight'), {})]


def test_input_scaling_follows_the_order_of_the_graph():
  minus, mul = ('_minus_scalar', '127.5'), ('_mul_scalar', '0.0078125')
  assert mxnet_symbol.input_scaling(scaled()) == ('data', 1.0, 0.0)
  assert mxnet_symbol.input_scaling(scaled(minus, mul)) == (
    'step1',
    1 / 128,
    -127.5 / 128,
  )
  assert mxnet_symbol.input_scaling(scaled(mul, minus)) == (
    'step1',
    1 / 128,
    -127.5,
  )


def test_a_graph_without_image_is_refused():
  with pytest.raises(ValueError, match='no input of the name data'):
    mxnet_symbol.input_scaling([Node('null', 'weight', (), {})])


@pytest.mark.parametrize(
  'content',
  [
    '',
    '[]',
    '{"nodes": 1}',
    '{"nodes": [1]}',
    '{"nodes": [{"op": "null", "name": "data"}]}',
    '{"nodes": [{"op": "null", "name": "a", "inputs": [[7, 0]]}]}',
    '{"nodes": [{"op": "null", "name": "a", "inputs": [], "attrs": []}]}',
    '{"nodes": ' + '[' * 100_000,
  ],
)
def test_what_is_no_graph_is_refused(tmp_path, content):
  with pytest.raises(ValueError, match=r'net-symbol\.json is no MXNet graph'):
    read(tmp_path, content)


def test_a_missing_graph_is_named(tmp_path):
  with pytest.raises(ValueError, match=r'no graph .*none-symbol\.json'):
    mxnet_symbol.read_symbol(tmp_path / 'none-symbol.json')
