"""Reads the weights in an .onnx file, by name.

Only its initialisers are read. The graph is not run, and no other file opened.
"""

import os
from collections.abc import Mapping

import numpy as np

try:
  import onnx
  from google.protobuf.message import DecodeError
  from onnx import SparseTensorProto, TensorProto, numpy_helper
except ImportError as error:
  raise ImportError(
    "Reading .onnx files needs the package 'onnx': pip install onnx"
  ) from error

_ENDINGS = ('.weight', '.bias', '.running_mean', '.running_var')


def read_initializers(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads the initialisers of a model's main graph.

  Args:
    path: an .onnx file that holds its weights itself.

  Returns:
    Arrays by name, in the file's order and types; bfloat16 becomes float32.

  Raises:
    ValueError: names the file, and the tensor if it is its fault. It cannot be
      opened, is damaged or no model; it has no initialisers or two of one
      name; or a tensor is sparse, lies in another file, is of text, or does
      not fit its shape.
  """
  path = os.fspath(path)
  try:
    # A model may name other files; none is opened.
    model = onnx.load(path, format='protobuf', load_external_data=False)
  except OSError as error:
    raise ValueError(
      f'The model {path} cannot be read: {error.strerror}'
    ) from None
  except DecodeError as error:
    raise ValueError(
      f'{path} is damaged, truncated or no ONNX model ({error}): get it again'
    ) from error
  # Both stand behind the graph: a file that is cut short lacks one.
  if not model.HasField('graph') or not model.opset_import:
    raise ValueError(
      f'{path} is truncated or no ONNX model: it has no graph, or no version '
      'of its operators. Get it again'
    )
  graph = model.graph
  if not graph.initializer and not graph.sparse_initializer:
    raise ValueError(
      f'{path} has no initialisers: export the model with its parameters, and '
      'not as Constant nodes'
    )
  arrays = {}
  for tensor in (*graph.sparse_initializer, *graph.initializer):
    name = getattr(tensor, 'values', tensor).name
    if name in arrays:
      raise ValueError(f'{path} has two initialisers {name!r}: export it again')
    try:
      arrays[name] = _to_array(tensor)
    except ValueError as error:
      raise ValueError(f'{path}: initialiser {name!r} {error}') from error
  return arrays


def split_parameters(
  arrays: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Parts the parameters of a network in PyTorch from what an export added.

  Args:
    arrays: of `read_initializers`.

  Returns:
    Those with names of a state dictionary; and the names of other arrays of
    floats, such as 'onnx::Conv_123': constants of the graph, and weights that
    the export has folded or transposed.
  """
  parameters = {
    name: array for name, array in arrays.items() if name.endswith(_ENDINGS)
  }
  others = [
    name
    for name in arrays.keys() - parameters.keys()
    if arrays[name].ndim and np.issubdtype(arrays[name].dtype, np.floating)
  ]
  return parameters, sorted(others)


def _to_array(tensor: TensorProto | SparseTensorProto) -> np.ndarray:
  if isinstance(tensor, SparseTensorProto):
    raise ValueError('is sparse: export the model with dense weights')
  if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
    places = {entry.key: entry.value for entry in tensor.external_data}
    raise ValueError(
      f'lies in another file, {places.get("location", "")!r}, and no other '
      'file is read: save the model as one, onnx.save(model, path, '
      'save_as_external_data=False)'
    )
  if tensor.data_type == TensorProto.STRING:
    raise ValueError('holds text')
  try:
    array = numpy_helper.to_array(tensor)
    # With a negative dimension it derives one from the data.
    if array.shape != tuple(tensor.dims):
      raise ValueError(f'its data make the shape {list(array.shape)}')
  # Wrong types, sizes and dimensions raise different errors.
  except Exception as error:
    raise ValueError(
      f'of shape {list(tensor.dims)} is damaged ({type(error).__name__}: '
      f'{error}): get the file again'
    ) from error
  return array.astype(np.float32) if array.dtype.name == 'bfloat16' else array
