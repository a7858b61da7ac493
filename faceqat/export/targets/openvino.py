"""OpenVINO on a processor, by a graph of integers."""

import pathlib
import tempfile

import numpy as np

from faceqat.export import onnx_graph, onnx_integer, openvino
from faceqat.export.exported import threads
from faceqat.export.targets.target import Target
from faceqat.integer.operators import Weighted
from faceqat.integer.program import IntegerProgram

_FILE = 'model.onnx'
# It adds in float32, where all integers up to here are exact.
_WIDEST_SUM = 2**24
# OpenVINO 2026.4 has no UINT2: "Unsupported type".
_LEAST_BITS = 4


def _content(program, taps=False):
  _check_sums(program)
  model = onnx_integer.to_model(
    program, taps=taps, widest_sum=_WIDEST_SUM, least_bits=_LEAST_BITS
  )
  return onnx_graph.to_bytes(model)


def _check_sums(program: IntegerProgram):
  """Raises ValueError for a sum that cannot be cut into parts."""
  for operator in program.operators:
    if not isinstance(operator, Weighted):
      for what, bound in operator.sums(program.inputs_of(operator)).items():
        if np.max(bound) > _WIDEST_SUM:
          operator.fail(
            f'{what} can reach {np.max(bound)}; OpenVINO adds in float32, '
            f'which holds integers up to {_WIDEST_SUM}. An embedding can stay '
            'as it is: leave --normalize out, and compare by the cosine'
          )


def _run(program, folder):
  run = openvino.make_runner(folder / _FILE, threads=threads())
  return lambda images: run(images)[program.output]


def _run_taps(program):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, _FILE)
    path.write_bytes(_content(program, taps=True))
    return openvino.make_runner(path, threads=threads())


TARGET = Target(
  promise='the same bits in OpenVINO on a processor; openvino-qdq is faster '
  'and promises none',
  write=lambda program, network: {_FILE: _content(program)},
  contracts=('tflite_ref',),
  run=_run,
  run_taps=_run_taps,
)
