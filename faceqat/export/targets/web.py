"""onnxruntime-web, ONNX Runtime in a browser page."""

import pathlib

import numpy as np

from faceqat.export import node_runner
from faceqat.export.targets import onnxruntime
from faceqat.export.targets.target import Target

_SCRIPT = pathlib.Path(node_runner.__file__).with_name('onnx_web.mjs')


def _run(program, folder):
  height, width, _ = program.tensors[program.input].shape
  (size,) = program.tensors[program.output].shape
  run = node_runner.make_runner(
    _SCRIPT,
    [str(folder / onnxruntime.FILE), str(height), str(width)],
    size,
    runtime='onnxruntime-web',
    package='onnxruntime-web',
  )
  return lambda images: run(images).view(np.int8)


TARGET = Target(
  promise='the same bits in a browser page, by onnxruntime-web on WebAssembly',
  write=onnxruntime.TARGET.write,
  contracts=('tflite_ref',),
  run=_run,
  # The kernels are the same.
  run_taps=onnxruntime.TARGET.run_taps,
)
