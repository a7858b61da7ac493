"""TFLM, LiteRT's runtime for microcontrollers."""

from faceqat.export import tflite, tflm, tflm_rules
from faceqat.export.targets.target import Target

_FILE = 'model.tflite'


def _write(program, network):
  tflm_rules.check_program(program)
  return {_FILE: tflite.to_bytes(program, batch=1)}


def _run(program, folder):
  run = tflm.make_runner((folder / _FILE).read_bytes())
  return lambda images: run(images)[program.output]


def _measure(folder):
  arena = tflm.arena_bytes((folder / _FILE).read_bytes())
  return [{'file': _FILE, 'arena bytes': arena}]


TARGET = Target(
  promise='the same bits on microcontrollers, and the bytes of the arena',
  write=_write,
  contracts=('tflite_ref',),
  run=_run,
  run_taps=lambda program: tflm.make_runner(
    tflite.to_bytes(program, taps=True)
  ),
  timed=False,
  measure=_measure,
)
