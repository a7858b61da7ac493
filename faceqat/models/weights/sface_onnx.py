"""OpenCV Zoo's SFace (Zhong et al. 2021), as weights of `mobilenet_v1`.

The file `face_recognition_sface_2021dec_int8bq.onnx` has its weights in blocks
of int8, each with a scale and a zero point. They are dequantized in float64.
Three layers of the graph are folded into others, exactly but for the border of
the first convolution (see `pixels`):

* (x - 127.5) / 128 into the first convolution;
* the batch norm before the dense layer, which no padding follows, into the
  dense layer;
* the bias of the dense layer into the batch norm behind it.

The plain file `face_recognition_sface_2021dec.onnx` has the same names without
blocks, and is read too.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from faceqat.models.mobilenet_v1 import STAGES
from faceqat.models.weights import onnx_initializers, pixels, projects
from faceqat.models.weights.assign import EPSILON, at_epsilon, listed
from faceqat.models.weights.pixels import Imported

_BLOCKS = sum(repeats for _, repeats, _ in STAGES)
# Each convolution of the graph, as the model calls it.
LAYERS = {
  'conv_1': 'stem',
  **{
    f'conv_{index + 2}{part}': f'{layer}_{index}'
    for index in range(_BLOCKS)
    for part, layer in (('_dw', 'depthwise'), ('', 'pointwise'))
  },
}
_EPSILON = 1e-3
# Of the two batch norms around the dense layer.
_DENSE_EPSILON = 2e-5
_NORM = ('gamma', 'beta', 'moving_mean', 'moving_var')
_BLOCKED = ('quantized', 'scales', 'zero_point', 'shape')


def read_sface(
  path: str | os.PathLike, given: Mapping[str, Any] | None = None
) -> Imported:
  """Reads the network, for `assign.assign`.

  Args:
    path: the .onnx file.
    given: fields of `pixels.Pixels` that the user states.

  Returns:
    float32 arrays by path in `mobilenet_v1.Model`'s variables.

  Raises:
    ValueError: names the file: it is damaged, or of another network.
  """
  tensors = onnx_initializers.read_initializers(path)
  try:
    return convert(tensors, given)
  except ValueError as error:
    raise ValueError(
      f'{os.fspath(path)} is not of the SFace that this model is: {error}'
    ) from None


def convert(
  tensors: Mapping[str, np.ndarray], given: Mapping[str, Any] | None = None
) -> Imported:
  """Brings the graph's initialisers into our layout.

  Args:
    tensors: arrays by the graph's names.
    given: see `read_sface`.

  Returns:
    See `read_sface`.

  Raises:
    ValueError: it lists the tensors that are missing and those that the
      network has no place for; shapes do not fit together; or a field of
      `given` is wrong.
  """
  project = pixels.choose((projects.SFACE,), given)
  values = _values(_dequantized(tensors), project.pixels)
  values = {name: np.float32(value) for name, value in values.items()}
  return Imported(values, project)


def dequantize(
  quantized: np.ndarray, scales: np.ndarray, zero_point: np.ndarray
) -> np.ndarray:
  """ONNX's DequantizeLinear-21 in blocks along the last axis.

  Args:
    quantized: [..., N] int8.
    scales: [..., N / block] float32, positive.
    zero_point: likewise, int8.

  Returns:
    [..., N] float64.

  Raises:
    ValueError: the shapes do not fit together.

  >>> dequantize(np.int8([[1, 2, 3, 5]]), np.float32([[0.5, 2]]),
  ...            np.int8([[0, 1]]))
  array([[0.5, 1. , 4. , 8. ]])
  """
  blocks = scales.shape[-1:]
  fits = (
    quantized.shape[:-1] == scales.shape[:-1]
    and scales.shape == zero_point.shape
    and blocks
    and blocks[0]
    and quantized.shape[-1] % blocks[0] == 0
  )
  if not fits:
    raise ValueError(
      f'blocks of {list(scales.shape)} scales and {list(zero_point.shape)} '
      f'zero points do not part {list(quantized.shape)} weights'
    )
  block = quantized.shape[-1] // blocks[0]
  scales, zero_point = (
    np.repeat(np.float64(array), block, axis=-1)
    for array in (scales, zero_point)
  )
  return (quantized - zero_point) * scales


def _dequantized(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The weights by name, those in blocks made whole."""
  whole, blocked = {}, {}
  for name, tensor in tensors.items():
    base, _, part = name.rpartition('_')
    if part == 'point':
      base, part = name.removesuffix('_zero_point'), 'zero_point'
    if part in _BLOCKED:
      blocked.setdefault(base, {})[part] = tensor
    else:
      whole[name] = tensor
  for name, parts in blocked.items():
    if parts.keys() != set(_BLOCKED):
      raise ValueError(
        f'{name} lacks {listed(set(_BLOCKED) - parts.keys())} of its blocks'
      )
    array = dequantize(parts['quantized'], parts['scales'], parts['zero_point'])
    try:
      whole[name] = array.reshape(parts['shape'])
    except (ValueError, TypeError):
      raise ValueError(
        f'{name} has {array.size} weights, wanted the shape '
        f'{parts["shape"].tolist()}'
      ) from None
  return whole


def _values(
  tensors: Mapping[str, np.ndarray], seen: pixels.Pixels
) -> dict[str, np.ndarray]:
  _check_names(tensors)
  values = {}
  for name, layer in LAYERS.items():
    # [O, I, kh, kw] to [kh, kw, I, O].
    kernel = np.float64(tensors[f'{name}_conv2d_weight']).transpose(2, 3, 1, 0)
    shift = 0.0
    if layer == 'stem':
      kernel, shift = seen.fold(kernel)
    values[f'{layer}/kernel'] = kernel
    norm = _norm(tensors, f'{name}_batchnorm')
    values |= _batch_norm(layer, norm, _EPSILON, shift)
    values[f'{layer}_prelu/alpha'] = tensors[f'{name}_relu_gamma'].ravel()
  gamma, beta, mean, var = _norm(tensors, 'bn1')
  factor = gamma / np.sqrt(var + _DENSE_EPSILON)
  # [O, C * H * W] to [H * W, C, O].
  kernel = np.float64(tensors['pre_fc1_weight'])
  kernel = kernel.reshape(len(kernel), len(factor), -1).transpose(2, 1, 0)
  shift = np.einsum('pco,c->o', kernel, beta - mean * factor)
  shift += tensors['pre_fc1_bias']
  kernel = kernel * factor[:, np.newaxis]
  values['embedding/kernel'] = kernel.reshape(-1, kernel.shape[-1])
  norm = _norm(tensors, 'fc1')
  return values | _batch_norm('embedding', norm, _DENSE_EPSILON, shift)


def _check_names(tensors: Mapping[str, np.ndarray]):
  wanted = {'pre_fc1_weight', 'pre_fc1_bias'}
  wanted |= {f'{name}_{part}' for name in ('bn1', 'fc1') for part in _NORM}
  for name in LAYERS:
    wanted |= {f'{name}_batchnorm_{part}' for part in _NORM}
    wanted |= {f'{name}_conv2d_weight', f'{name}_relu_gamma'}
  # The two numbers of the input's scaling, which `projects` knows.
  more = tensors.keys() - wanted - {'scalar_op1', 'scalar_op2'}
  if more or wanted - tensors.keys():
    raise ValueError(
      f'it lacks the tensors {listed(wanted - tensors.keys())}; it has besides '
      f'{listed(more)}'
    )


def _norm(tensors: Mapping[str, np.ndarray], name: str) -> list[np.ndarray]:
  """gamma, beta, mean, variance: [C] float64 each."""
  return [np.float64(tensors[f'{name}_{part}']) for part in _NORM]


def _batch_norm(
  layer: str, norm: list[np.ndarray], epsilon: float, shift: np.ndarray | float
) -> dict[str, np.ndarray]:
  """The batch norm of a layer whose output is short of `shift`."""
  gamma, beta, mean, var = norm
  return {
    f'{layer}/bn/scale': at_epsilon(gamma, var, epsilon, EPSILON),
    f'{layer}/bn/bias': beta,
    f'{layer}/bn/mean': mean - shift,
    f'{layer}/bn/var': var,
  }
