"""LiteRT, the runtime of `.tflite` files on phones and computers."""

from faceqat.export import litert, tflite
from faceqat.export.exported import threads
from faceqat.export.targets.target import Target

_FILE = 'model.tflite'


def _write(program, network):
  return {_FILE: tflite.to_bytes(program)}


def _runner(program, content):
  return litert.make_runner(content, program.contract, threads=threads())


def _run(program, folder):
  run = _runner(program, (folder / _FILE).read_bytes())
  return lambda images: run(images)[program.output]


TARGET = Target(
  promise='the same bits in LiteRT as it runs by default, with XNNPACK; with '
  '--contract=tflite_ref in its reference kernels',
  write=_write,
  contracts=('xnnpack', 'tflite_ref'),
  run=_run,
  run_taps=lambda program: _runner(
    program, tflite.to_bytes(program, taps=True)
  ),
)
