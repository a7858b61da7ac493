"""OpenVINO on a processor, by its own quantized kernels."""

from faceqat.export import openvino
from faceqat.export.exported import threads
from faceqat.export.targets import onnxruntime_qdq
from faceqat.export.targets.target import Target


def _run(program, folder):
  path = folder / onnxruntime_qdq.FILE
  run = openvino.make_runner(path, threads=threads())
  return lambda images: run(images)[program.output]


TARGET = Target(
  promise='fast in OpenVINO on a processor, but by its rounding: embeddings '
  'differ by steps',
  write=onnxruntime_qdq.write,
  run=_run,
)
