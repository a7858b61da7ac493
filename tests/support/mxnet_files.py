"""Writes MXNet's files: `.params` of any version, and a small random y1."""

import json
import math
import struct

import numpy as np

_MAGIC = {1: 0xF993FAC8, 2: 0xF993FAC9, 3: 0xF993FACA}
_TYPES = ('float32', 'float64', 'float16', 'uint8', 'int32', 'int8', 'int64')


def params_bytes(tensors, version: int = 2, names=None) -> bytes:
  """A `.params` file; version 0 is that of the time before there were any."""
  parts = [struct.pack('<QQQ', 0x112, 0, len(tensors))]
  for array in tensors.values():
    array = np.asarray(array)
    if version:
      parts.append(struct.pack('<I', _MAGIC[version]))
    if version >= 2:
      parts.append(struct.pack('<i', 0))
    sizes = 'q' if version else 'I'
    parts.append(
      struct.pack(f'<I{array.ndim}{sizes}', array.ndim, *array.shape)
    )
    parts.append(struct.pack('<iii', 1, 0, _TYPES.index(array.dtype.name)))
    parts.append(array.tobytes())
  names = list(tensors) if names is None else names
  parts.append(struct.pack('<Q', len(names)))
  for name in names:
    parts.append(struct.pack('<Q', len(name.encode())) + name.encode())
  return b''.join(parts)


class Y1:
  """The graph of y1 with random tensors, for images of `image_size`.

  `save` writes both files. Scales and biases are positive, so that most units
  are on: a network of fifty layers is chaotic without training.
  """

  def __init__(self, image_size: int):
    self.nodes, self.tensors = [], {}
    self._rng = np.random.default_rng(0)
    self._size, self._channels = image_size, 3
    self._add('null', 'data', [])
    x = self._add('_minus_scalar', '_minusscalar0', ['data'], scalar='127.5')
    x = self._add('_mul_scalar', '_mulscalar0', [x], scalar='0.0078125')
    x = self._unit(x, 'conv_1', 64, 3, 2)
    x = self._unit(x, 'conv_2_dw', 64, 3, depthwise=True)
    x = self._block(x, 'dconv_23', 128, 64, 2)
    x = self._stage(x, 'res_3', 128, 64, 4)
    x = self._block(x, 'dconv_34', 256, 128, 2)
    x = self._stage(x, 'res_4', 256, 128, 6)
    x = self._block(x, 'dconv_45', 512, 128, 2)
    x = self._stage(x, 'res_5', 256, 128, 2)
    x = self._unit(x, 'conv_6sep', 512, 1)
    x = self._unit(
      x, 'conv_6dw7_7', 512, self._size, depthwise=True, relu=False, pad=0
    )
    weight = self._tensor('arg:fc1_weight', (128, 512), math.sqrt(1 / 512))
    bias = self._tensor('arg:pre_fc1_bias', (128,), 0.3)
    x = self._add(
      'FullyConnected', 'pre_fc1', [x, weight, bias], num_hidden='128'
    )
    self._channels = 128
    self._batch_norm(x, 'fc1', eps='2e-05', fix_gamma='True', momentum='0.9')

  def save(self, folder, version: int = 2):
    """Returns the path of the `.params` file."""
    path = folder / 'model-0000.params'
    path.write_bytes(params_bytes(self.tensors, version))
    (folder / 'model-symbol.json').write_text(self.graph())
    return path

  def graph(self) -> str:
    return json.dumps(
      {'nodes': self.nodes, 'heads': [[len(self.nodes) - 1, 0]]}
    )

  def node(self, name: str) -> dict:
    return next(node for node in self.nodes if node['name'] == name)

  def _add(self, operator, name, inputs, **attributes):
    index = {node['name']: i for i, node in enumerate(self.nodes)}
    node = {'op': operator, 'name': name}
    node['inputs'] = [[index[source], 0, 0] for source in inputs]
    if attributes:
      node['attrs'] = attributes
    self.nodes.append(node)
    return name

  def _tensor(self, name, shape, spread, center=0.0):
    value = center + spread * self._rng.normal(size=shape)
    self.tensors[name] = value.astype(np.float32)
    return self._add('null', name.split(':')[1], [])

  def _batch_norm(self, x, name, **attributes):
    shape = (self._channels,)
    inputs = [
      self._tensor(f'arg:{name}_gamma', shape, 0.1, 0.9),
      self._tensor(f'arg:{name}_beta', shape, 0.3, 0.2),
      self._tensor(f'aux:{name}_moving_mean', shape, 0.1),
      self._tensor(f'aux:{name}_moving_var', shape, 0.1, 1.0),
    ]
    return self._add('BatchNorm', name, [x, *inputs], **attributes)

  def _unit(
    self, x, name, features, kernel, stride=1, depthwise=False, relu=True,
    pad=None,
  ):  # fmt: skip
    fan_in = kernel**2 * (1 if depthwise else self._channels)
    shape = (features, 1 if depthwise else self._channels, kernel, kernel)
    pad = kernel // 2 if pad is None else pad
    weight = self._tensor(
      f'arg:{name}_conv2d_weight', shape, math.sqrt(1 / fan_in)
    )
    x = self._add(
      'Convolution',
      f'{name}_conv2d',
      [x, weight],
      kernel=f'({kernel}, {kernel})',
      no_bias='True',
      num_filter=str(features),
      num_group=str(features if depthwise else 1),
      pad=f'({pad}, {pad})',
      stride=f'({stride}, {stride})',
    )
    self._channels = features
    self._size = -(-self._size // stride)
    x = self._batch_norm(x, f'{name}_batchnorm', fix_gamma='False')
    if not relu:
      return x
    alpha = self._tensor(f'arg:{name}_relu_gamma', (features,), 0.2, 0.25)
    return self._add('LeakyReLU', f'{name}_relu', [x, alpha], act_type='prelu')

  def _block(self, x, name, expanded, features, stride=1):
    x = self._unit(x, f'{name}_conv_sep', expanded, 1)
    x = self._unit(x, f'{name}_conv_dw', expanded, 3, stride, depthwise=True)
    return self._unit(x, f'{name}_conv_proj', features, 1, relu=False)

  def _stage(self, x, name, expanded, features, repeats):
    for index in range(repeats):
      y = self._block(x, f'{name}_block{index}', expanded, features)
      x = self._add('elemwise_add', f'{name}_plus{index}', [y, x])
    return x
