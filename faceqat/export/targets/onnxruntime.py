"""ONNX Runtime on a processor, by a graph of integers."""

from faceqat.export import onnx_graph, onnx_integer, onnx_runtime
from faceqat.export.exported import threads
from faceqat.export.targets.target import Target

FILE = 'model.onnx'


def _content(program, taps=False):
  return onnx_graph.to_bytes(onnx_integer.to_model(program, taps=taps))


def _write(program, network):
  return {FILE: _content(program)}


def _run(program, folder):
  content = (folder / FILE).read_bytes()
  run = onnx_runtime.make_runner(content, threads=threads())
  return lambda images: run(images)[program.output]


TARGET = Target(
  promise='the same bits in ONNX Runtime on any processor',
  write=_write,
  contracts=('tflite_ref',),
  run=_run,
  run_taps=lambda program: onnx_runtime.make_runner(
    _content(program, taps=True), threads=threads()
  ),
)
