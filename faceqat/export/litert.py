"""Runs TFLite files in LiteRT, by the kernels that a contract names."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

_RESOLVERS = {
  'tflite_ref': 'BUILTIN_REF',
  # The delegate takes what it has kernels for, the built-in ones the rest.
  'xnnpack': 'BUILTIN',
}


def make_runner(
  content: bytes, contract: str, *, threads: int = 1
) -> Callable[..., dict[str, np.ndarray]]:
  """Loads a TFLite file.

  Args:
    content: of the file.
    contract: 'tflite_ref' runs LiteRT's reference kernels, 'xnnpack' what
      LiteRT runs by default.
    threads: processors to use.

  Returns:
    A function from arrays [B, ...], one for each input in the file's order, to
    a dict from output tensor name to array [B, ...]. Any B; every new one
    loads the graph again. An output that the file's own metadata calls a
    vector is [B, C].

  Raises:
    ImportError: LiteRT is not installed.
    ValueError: an unknown contract, or a file that LiteRT does not take.
  """
  make_interpreter = _interpreter_maker(content, contract, threads)
  # LiteRT looks through the file before anything else reads it.
  try:
    details = make_interpreter().get_input_details()
  except (ValueError, RuntimeError) as error:
    raise ValueError(f'LiteRT does not take the file: {error}') from error
  shapes = _output_shapes(content)
  loaded = {}

  def run(*arrays: np.ndarray) -> dict[str, np.ndarray]:
    if len(arrays) != len(details):
      raise ValueError(
        f'The file has {len(details)} inputs; it got {len(arrays)} arrays'
      )
    batch_size = len(arrays[0])
    arrays = [
      _fitted(np.asarray(array), detail, batch_size)
      for array, detail in zip(arrays, details)
    ]
    if batch_size not in loaded:
      loaded.clear()  # One at a time: a graph's activations are large.
      loaded[batch_size] = _allocated(make_interpreter(), details, batch_size)
    interpreter = loaded[batch_size]
    for array, detail in zip(arrays, details):
      interpreter.set_tensor(detail['index'], array)
    interpreter.invoke()
    results = {}
    for detail in interpreter.get_output_details():
      name, value = detail['name'], interpreter.get_tensor(detail['index'])
      shape = shapes.get(name, value.shape[1:])
      results[name] = value.reshape(batch_size, *shape)
    return results

  return run


def _output_shapes(content: bytes) -> dict:
  """The shapes of outputs that the file's own metadata knows, by name."""
  from faceqat.export import tflite_builder

  shapes = tflite_builder.read_metadata(content).get('shapes', {})
  if not isinstance(shapes, dict):
    raise ValueError('its description is damaged: shapes is no object')
  return shapes


def _interpreter_maker(content: bytes, contract: str, threads: int):
  """The function without arguments that loads the file anew."""
  if contract not in _RESOLVERS:
    raise ValueError(
      f'The contract is {contract!r}; LiteRT keeps {sorted(_RESOLVERS)}'
    )
  try:
    from ai_edge_litert import interpreter as litert
  except ImportError as error:
    raise ImportError(
      "Running .tflite files needs the package 'ai-edge-litert': pip install "
      'ai-edge-litert'
    ) from error
  return functools.partial(
    litert.Interpreter,
    model_content=content,
    num_threads=threads,
    experimental_op_resolver_type=getattr(
      litert.OpResolverType, _RESOLVERS[contract]
    ),
  )


def _allocated(interpreter, details: Sequence[dict], batch_size: int):
  """The interpreter, ready for inputs of a batch size."""
  # Before anything is allocated: the delegate then plans for this size.
  for detail in details:
    shape = [batch_size, *detail['shape'][1:]]
    interpreter.resize_tensor_input(detail['index'], shape)
  interpreter.allocate_tensors()
  return interpreter


def _fitted(array: np.ndarray, detail: dict, batch_size: int) -> np.ndarray:
  """An input in the shape that the file gives it: vectors are images."""
  shape = [batch_size, *map(int, detail['shape'][1:])]
  short = [batch_size, *shape[3:]] if shape[1:3] == [1, 1] else shape
  if array.dtype != detail['dtype'] or list(array.shape) not in (shape, short):
    wanted = ', '.join(['B', *map(str, shape[1:])])
    kind = np.dtype(detail['dtype']).name
    raise ValueError(
      f'Input {detail["name"]!r} takes {kind} [{wanted}]; it got '
      f'{array.dtype}{list(array.shape)}'
    )
  return array.reshape(shape)
