"""Runs an MXNet graph in numpy, float64, straight from its JSON.

Independent of `faceqat`: what an import is compared with.
"""

import ast
import json

import numpy as np


def read_params(data: bytes) -> dict[str, np.ndarray]:
  """The float32 tensors of a dense `.params` file, by name without prefix."""
  position = 0

  def take(dtype, count=1):
    nonlocal position
    values = np.frombuffer(data, dtype, count, position)
    position += values.nbytes
    return values

  take('<u8', 2)
  tensors = []
  for _ in range(int(take('<u8')[0])):
    take('<u4', 2)
    shape = take('<i8', int(take('<u4')[0]))
    take('<i4', 3)
    tensors.append(take('<f4', int(np.prod(shape))).reshape(shape))
  names = [
    bytes(take('u1', int(take('<u8')[0]))).decode()
    for _ in range(int(take('<u8')[0]))
  ]
  assert position == len(data)
  return {name.split(':')[1]: value for name, value in zip(names, tensors)}


def run(graph: str, params, images, pad_values=None, perturb=None):
  """Evaluates the graph.

  Args:
    graph: the text of `-symbol.json`.
    params: of `read_params`.
    images: `[B, H, W, 3]`, pixels 0..255.
    pad_values: {convolution: what its input is padded with}, 0 by default.
    perturb: {node: function of its output}.

  Returns:
    {node: output} in float64, channels first.
  """
  graph = json.loads(graph)
  nodes, outputs = graph['nodes'], {}
  for node in nodes:
    name, attributes = node['name'], node.get('attrs', {})
    inputs = [outputs[nodes[index]['name']] for index, *_ in node['inputs']]
    if node['op'] == 'null':
      value = (
        np.float64(images).transpose(0, 3, 1, 2)
        if name == 'data'
        else np.float64(params[name])
      )
    elif node['op'] == 'Convolution':
      pad_value = (pad_values or {}).get(name, 0.0)
      value = _convolution(*inputs, attributes, pad_value)
    else:
      value = _OPERATORS[node['op']](*inputs, attributes)
    outputs[name] = (perturb or {}).get(name, lambda x: x)(value)
  return outputs


def _convolution(x, weights, attributes, pad_value):
  stride, pad = (ast.literal_eval(attributes[k]) for k in ('stride', 'pad'))
  assert attributes['no_bias'] == 'True'
  sides = ((0, 0), (0, 0), (pad[0], pad[0]), (pad[1], pad[1]))
  x = np.pad(x, sides, constant_values=pad_value)
  windows = np.lib.stride_tricks.sliding_window_view(
    x, weights.shape[2:], (2, 3)
  )[:, :, :: stride[0], :: stride[1]]
  groups = int(attributes['num_group'])
  if groups == 1:
    return np.einsum('bchwij,ocij->bohw', windows, weights, optimize=True)
  assert weights.shape[:2] == (groups, 1)
  return np.einsum('bchwij,cij->bchw', windows, weights[:, 0])


def _batch_norm(x, gamma, beta, mean, var, attributes):
  # MXNet's defaults, where the graph says nothing.
  if attributes.get('fix_gamma', 'True') == 'True':
    gamma = np.ones_like(gamma)
  factor = gamma / np.sqrt(var + float(attributes.get('eps', '1e-3')))
  shape = (-1,) + (1,) * (x.ndim - 2)
  return (x - mean.reshape(shape)) * factor.reshape(shape) + beta.reshape(shape)


def _prelu(x, alpha, attributes):
  assert attributes['act_type'] == 'prelu'
  return np.where(x > 0, x, x * alpha[:, None, None])


def _fully_connected(x, weights, bias, attributes):
  assert int(attributes['num_hidden']) == len(weights)
  return x.reshape(len(x), -1) @ weights.T + bias


_OPERATORS = {
  'BatchNorm': _batch_norm,
  'FullyConnected': _fully_connected,
  'LeakyReLU': _prelu,
  '_minus_scalar': lambda x, attributes: x - float(attributes['scalar']),
  '_mul_scalar': lambda x, attributes: x * float(attributes['scalar']),
  'elemwise_add': lambda a, b, attributes: a + b,
}
