"""ONNX Runtime on a processor, by its own quantized kernels."""

from faceqat.export import onnx_graph, onnx_qdq, onnx_runtime
from faceqat.export.exported import threads
from faceqat.export.targets.target import Target

FILE = 'model_qdq.onnx'


def write(program, network):
  return {FILE: onnx_graph.to_bytes(onnx_qdq.to_model(program))}


def _run(program, folder):
  content = (folder / FILE).read_bytes()
  run = onnx_runtime.make_runner(content, threads=threads())
  return lambda images: run(images)[program.output]


TARGET = Target(
  promise='fast in ONNX Runtime on a processor, but by its rounding: '
  'embeddings differ by steps',
  write=write,
  run=_run,
)
