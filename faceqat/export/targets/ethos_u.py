"""Arm's Ethos-U, beside a Cortex-M or Cortex-A: Vela compiles for it."""

from faceqat.export import tflite, vela
from faceqat.export.targets.target import Target
from faceqat.files import atomic

_FILE = 'model.tflite'
_CHIPS = ('ethos-u55-128', 'ethos-u55-256', 'ethos-u65-256', 'ethos-u85-256')
_COMPILED = {chip: f'model_{chip}.tflite' for chip in _CHIPS}


def _write(program, network):
  # Packed int4 weights kill Vela 5.2; in int8 they are the same integers.
  return {_FILE: tflite.to_bytes(program, batch=1, pack_int4=False)}


def _measure(folder):
  rows = []
  for chip, name in _COMPILED.items():
    compiled = vela.compile_file(folder / _FILE, chip)
    atomic.write(folder / name, compiled.content)
    rows.append(
      {
        'chip': chip,
        'SRAM': compiled.sram,
        'DRAM': compiled.dram,
        'flash': compiled.flash,
        'cycles': compiled.cycles,
        'ms': f'{compiled.milliseconds:.2f}',
        'assumed': f'{compiled.system}, {compiled.memory_mode}',
        'on the CPU': ', '.join(compiled.left) or 'none',
      }
    )
  return rows


TARGET = Target(
  promise='int8 weights alone; Vela compiles for U55, U65 and U85, and says '
  'bytes, cycles and what stays on the CPU',
  write=_write,
  not_run='it takes the chip, or a model of it by Arm',
  measure=_measure,
  made=tuple(_COMPILED.values()),
)
