"""Runs ONNX files in ONNX Runtime, on the processor."""

from collections.abc import Callable, Mapping

import numpy as np

_ERRORS_ONLY = 3


def make_runner(
  content: bytes,
  *,
  threads: int = 1,
  session_config: Mapping[str, str] | None = None,
) -> Callable[..., dict[str, np.ndarray]]:
  """Loads an ONNX file.

  Args:
    content: of the file.
    threads: processors to use.
    session_config: ONNX Runtime's session options by their keys, for example
      {'session.qdqisint8allowed': '1'}, which fuses int8 QDQ graphs on x86.

  Returns:
    A function from arrays [B, ...], one for each input in the file's order, to
    a dict from output name to array [B, ...]. Any B.

  Raises:
    ImportError: ONNX Runtime is not installed.
    ValueError: a file that ONNX Runtime does not take. The function raises it
      for another number of arrays, or their shapes or types.
  """
  session = _load(content, threads, session_config or {})
  from onnxruntime.capi import onnxruntime_pybind11_state as state

  inputs = [value.name for value in session.get_inputs()]
  outputs = [value.name for value in session.get_outputs()]

  def run(*arrays: np.ndarray) -> dict[str, np.ndarray]:
    if len(arrays) != len(inputs):
      raise ValueError(
        f'The file has {len(inputs)} inputs; it got {len(arrays)} arrays'
      )
    try:
      results = session.run(outputs, dict(zip(inputs, arrays)))
    except state.InvalidArgument as error:
      shapes = [f'{x.dtype}{list(x.shape)}' for x in arrays]
      raise ValueError(f'The file does not take {shapes}: {error}') from error
    return dict(zip(outputs, results))

  return run


def _load(content: bytes, threads: int, session_config: Mapping[str, str]):
  """A session of ONNX Runtime."""
  try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
  except ImportError as error:
    raise ImportError(
      "Running .onnx files needs the package 'onnxruntime': pip install "
      'onnxruntime'
    ) from error
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = threads
  options.inter_op_num_threads = 1
  options.log_severity_level = _ERRORS_ONLY
  for key, value in session_config.items():
    options.add_session_config_entry(key, value)
  try:
    return onnxruntime.InferenceSession(
      content, options, providers=['CPUExecutionProvider']
    )
  except (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
  ) as error:
    raise ValueError(
      f'ONNX Runtime {onnxruntime.__version__} does not take this file: {error}'
    ) from error
