"""davidsandberg/facenet's checkpoints, as weights of `inception_resnet_v1`.

Variables have the model's names, but for their case and the scopes `Repeat`:
`InceptionResnetV1/Repeat_1/block17_3/Branch_0/Conv2d_1x1/weights` is
`block17_3/branch_0/conv2d_1x1/kernel`. Batch norms have no gamma. The file is
read by TensorFlow, which is needed for nothing else.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from faceqat.models.weights import pixels, projects, weight_formats
from faceqat.models.weights.assign import EPSILON, at_epsilon
from faceqat.models.weights.inception_resnet_v1_torch import STEM
from faceqat.models.weights.pixels import Imported, Project

_SCOPE = 'InceptionResnetV1/'
_REPEATS = re.compile(r'^Repeat(_\d)?/')
_PARTS = {
  'weights': 'kernel',
  'biases': 'bias',
  'BatchNorm/beta': 'bn/bias',
  'BatchNorm/moving_mean': 'bn/mean',
  'BatchNorm/moving_variance': 'bn/var',
}
_VARIABLE = re.compile(f'(.+)/({"|".join(_PARTS)})')
# Networks of other sizes, of 2017, saw images whitened each by its own mean and
# deviation.
_FIXED_SIZE = 512


def read_tensorflow(
  path: str | os.PathLike, given: Mapping[str, Any] | None = None
) -> Imported:
  """Reads a checkpoint, for `assign.assign`.

  Args:
    path: the prefix of its files, such as `model-20180402-114759.ckpt-275`, or
      one of them.
    given: fields of `pixels.Pixels` that the user knows; the others are those
      of the networks of 2018.

  Returns:
    float32 arrays by path in `inception_resnet_v1.Model`'s variables.

  Raises:
    ImportError: TensorFlow is not installed.
    ValueError: names the file: it is damaged, of another network, or was
      trained on images that were whitened each by itself.
  """
  variables = _read_variables(path)
  layers: dict[str, dict[str, np.ndarray]] = {}
  for name, array in variables.items():
    found = _VARIABLE.fullmatch(_REPEATS.sub('', name.removeprefix(_SCOPE)))
    # All others are the optimiser's, the classifier's and moving averages.
    if name.startswith(_SCOPE) and found:
      layer = found[1].lower().replace('bottleneck', 'embedding')
      layers.setdefault(layer, {})[_PARTS[found[2]]] = np.float64(array)
  size = layers.get('embedding', {}).get('kernel', np.empty(0)).shape[-1]
  if STEM[0] not in layers or not size:
    raise ValueError(
      f"{os.fspath(path)} is not of facenet's Inception-ResNet-v1: it lacks "
      f'{_SCOPE}Conv2d_1a_3x3 or {_SCOPE}Bottleneck'
    )
  if size != _FIXED_SIZE and set(given or ()) != {'channels', 'mean', 'scale'}:
    raise ValueError(
      f'{os.fspath(path)} gives {size} numbers, as the networks did that were '
      'trained on images whitened each by its own mean and deviation, which '
      f'no weights can hold: give one of {_FIXED_SIZE} numbers, of 2018, or, '
      'where it was trained with --use_fixed_image_standardization, all of '
      '--config.pretrained_pixels.channels=RGB, .mean=127.5 and .scale=128'
    )
  project = pixels.choose([projects.FACENET], given)
  values = {}
  for layer, arrays in layers.items():
    values |= _layer(layer, arrays, project)
  values = {name: np.float32(value) for name, value in values.items()}
  return Imported(values, project)


def _layer(
  layer: str, arrays: dict[str, np.ndarray], project: Project
) -> dict[str, np.ndarray]:
  """A layer's arrays by path, with the gamma that its batch norm lacks."""
  arrays = dict(arrays)
  if layer == STEM[0] and {'kernel', 'bn/mean'} <= arrays.keys():
    arrays['kernel'], shift = project.pixels.fold(arrays['kernel'])
    arrays['bn/mean'] = arrays['bn/mean'] - shift
  if 'bn/var' in arrays:
    var = arrays['bn/var']
    arrays['bn/scale'] = at_epsilon(
      np.ones_like(var), var, project.epsilon, EPSILON
    )
  return {f'{layer}/{name}': array for name, array in arrays.items()}


def _read_variables(path: str | os.PathLike) -> dict[str, np.ndarray]:
  try:
    import tensorflow as tf
  except ImportError as error:
    raise ImportError(
      f'{os.fspath(path)} is a checkpoint of TensorFlow, which reads it: pip '
      'install tensorflow-cpu. Without it, give the .pt that facenet-pytorch '
      'has of the same network'
    ) from error
  prefix = weight_formats.tensorflow_prefix(path)
  try:
    reader = tf.train.load_checkpoint(prefix)
    return {
      name: reader.get_tensor(name)
      for name in reader.get_variable_to_shape_map()
      if name.startswith(_SCOPE)
    }
  # TensorFlow has errors of its own.
  except Exception as error:
    why = (str(error).splitlines() or [''])[0][:300]
    raise ValueError(
      f'{prefix} is damaged, or one of its files is missing '
      f'({type(error).__name__}: {why}): get all of them again'
    ) from error
