"""LiteRT.js, LiteRT in a browser page."""

import numpy as np

from faceqat.export import litert_js, tflite
from faceqat.export.targets import litert
from faceqat.export.targets.target import Target

_FILE = 'model.tflite'


def _write(program, network):
  # It has no int8 at the ends of a graph, and takes no open batch.
  return {_FILE: tflite.to_bytes(program, output_type='uint8', batch=1)}


def _run(program, folder):
  run = litert_js.make_runner(folder / _FILE)
  return lambda images: (run(images) ^ 128).view(np.int8)


TARGET = Target(
  promise='the same bits in a browser page, by LiteRT.js on WebAssembly; the '
  'embedding is uint8, q + 128',
  write=_write,
  contracts=('xnnpack',),
  run=_run,
  # It shows no tensor but the output.
  run_taps=litert.TARGET.run_taps,
)
