"""Reads what all networks of PyTorch share: files, layouts, batch norms.

The epsilon of the batch norms is folded into gamma by `assign.at_epsilon`, and
how the pixels enter into the first convolution (`pixels`).
"""

import os
from collections.abc import Callable, Mapping

import numpy as np

from faceqat.models.weights import (
  safetensors_file,
  torch_checkpoint,
  weight_formats,
)
from faceqat.models.weights.assign import EPSILON, at_epsilon, listed
from faceqat.models.weights.pixels import (
  Imported,
  SeveralProjectsError,
)
from faceqat.models.weights.torch_state import without_wrappers

State = Mapping[str, np.ndarray]


def read_network(
  path: str | os.PathLike,
  convert: Callable[[State], Imported],
  network: str,
) -> Imported:
  """Reads a file and converts what it holds.

  Args:
    path: PyTorch's, see `torch_checkpoint.read`; safetensors; or ONNX, see
      `onnx_initializers.read`. What it holds decides, not its name.
    convert: from arrays by PyTorch's names to arrays by ours.
    network: its name, for messages.

  Raises:
    ValueError: names the file: it is damaged, or of another network; of an
      ONNX file, which names are not PyTorch's, and how to export them.
  """
  path = os.fspath(path)
  format_name = weight_formats.format_of(path)
  is_onnx = format_name == 'ONNX'
  replaced = []
  if is_onnx:
    # No other file needs the package that it reads with.
    from faceqat.models.weights import onnx_initializers

    arrays = onnx_initializers.read(path)
    state, replaced = onnx_initializers.split_parameters(arrays)
    state = without_wrappers(state)
  elif format_name == 'safetensors':
    state = without_wrappers(safetensors_file.read(path))
  else:
    state = torch_checkpoint.read(path)
  try:
    return convert(state)
  except SeveralProjectsError as error:
    raise ValueError(f'{path}: {error}.') from None
  except ValueError as error:
    message = f'{path} is not of the {network} that this model is: {error}'
  if replaced:
    message += f'. Names were replaced, by {listed(replaced)}'
  if is_onnx:
    message += (
      '. If the export folded batch norms or replaced names, export again with '
      'torch.onnx.export(model, images, path, dynamo=False, '
      'do_constant_folding=False), or give the .pth.'
    )
  raise ValueError(message)


def network_state(state: State, prefix: str) -> dict[str, np.ndarray]:
  """What stands behind the prefix, without it; but no counts of batches."""
  return {
    name.removeprefix(prefix): array
    for name, array in state.items()
    if name.startswith(prefix) and not name.endswith('.num_batches_tracked')
  }


def prefixes(state: State, first: str) -> list[str]:
  """What stands before the name of the first tensor, such as 'model.'."""
  found = {name.removesuffix(first) for name in state if name.endswith(first)}
  return sorted(found | {''})


def batch_norm_names(name: str) -> set[str]:
  """The names of a batch norm's four tensors."""
  return {
    f'{name}.{part}'
    for part in ('weight', 'bias', 'running_mean', 'running_var')
  }


def check_names(state: State, wanted: set[str], last: str):
  """Refuses a state of which tensors are missing or left over.

  Args:
    state: arrays by name.
    wanted: the names of the network's tensors.
    last: its last batch norm, which may have no gamma and beta
      (`affine=False`).

  Raises:
    ValueError: lists both.
  """
  optional = {f'{last}.weight', f'{last}.bias'}
  missing = wanted - state.keys() - optional
  more = state.keys() - wanted - optional
  if missing or more:
    raise ValueError(
      f'it lacks the tensors {listed(missing)}; it has besides {listed(more)}'
    )


def kernel(name: str, state: State) -> np.ndarray:
  """[O, I, kh, kw] to float64 [kh, kw, I, O]; depthwise ones have I = 1."""
  array = np.float64(state[name])
  if array.ndim != 4:
    raise wrong_shape(name, array, '[O, I, kh, kw]')
  return array.transpose(2, 3, 1, 0)


def wrong_shape(name: str, array: np.ndarray, wanted: str) -> ValueError:
  """The error of a tensor that cannot be the layer's."""
  return ValueError(
    f'{name} has the shape {list(array.shape)}, wanted {wanted}'
  )


def batch_norm(
  name: str,
  state: State,
  path: str,
  channels: int,
  epsilon: float,
  shift: np.ndarray | float = 0.0,
) -> dict[str, np.ndarray]:
  """A batch norm by our names.

  Args:
    name: of the batch norm; ones and zeros stand in for gamma and beta.
    state: arrays by name.
    path: of our layer.
    channels: C.
    epsilon: of the file's network.
    shift: [C], what the layer's product is short of.

  Raises:
    ValueError: a tensor is not [C], or a variance is negative or no number.
  """
  mean, var = state[f'{name}.running_mean'], state[f'{name}.running_var']
  gamma = state.get(f'{name}.weight', np.ones(channels))
  beta = state.get(f'{name}.bias', np.zeros(channels))
  shapes = {np.shape(array) for array in (gamma, beta, mean, var)}
  if shapes != {(channels,)}:
    raise ValueError(
      f'the tensors of {name} have the shapes {listed(map(str, shapes))}, '
      f'wanted {(channels,)}'
    )
  if not (var >= 0).all():
    raise ValueError(f'{name}.running_var has negative or no numbers')
  return {
    f'{path}/bn/scale': at_epsilon(gamma, var, epsilon, EPSILON),
    f'{path}/bn/bias': beta,
    f'{path}/bn/mean': mean - shift,
    f'{path}/bn/var': var,
  }


def no_batch_norm(path: str, channels: int) -> dict[str, np.ndarray]:
  """A batch norm that changes nothing, where the original has none."""
  ones, zeros = np.ones(channels), np.zeros(channels)
  return {
    f'{path}/bn/scale': at_epsilon(ones, ones, 0.0, EPSILON),
    f'{path}/bn/bias': zeros,
    f'{path}/bn/mean': zeros,
    f'{path}/bn/var': ones,
  }
