"""Every config in its smoke form: trained, evaluated, lowered, exported.

  python -m benchmarks.smoke_configs

Prints a Markdown table: of the config itself, the parameters and the
multiply-adds of one image; of its smoke form, the seconds of `faceqat.main` in
a process that compiles everything, the bytes of its program, and how many
outputs of the exported .tflite and .onnx files differ from the integer
evaluator's.

`--configs=NAME,NAME` chooses files of configs/, without their ending. Those
with y1 in their names start from a smoke run of mobilefacenet_int8.
"""

import contextlib
import importlib
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import flags

from faceqat import command
from faceqat.calibration.lower import lower
from faceqat.data.example_images import load_example_images
from faceqat.export import roundtrip
from faceqat.files.image_size import height_width
from faceqat.models.build import make_model
from faceqat.models.complexity import count_multiply_adds, count_parameters
from faceqat.quant.norm import NoIntegerFormError
from faceqat.quant.spec import FLOAT
from faceqat.training.checkpoint import load_network

_ROOT = pathlib.Path(__file__).parents[1]
_NO_EXPERIMENTS = ('base', 'common', 'compose', 'losses', 'models')
# Whose smoke run those start from that need a trained network; of their depth.
_TEACHER = 'mobilefacenet_int8'
_IMAGES = 8


def find_configs() -> list[str]:
  """The names of all experiments."""
  return sorted(
    path.stem
    for path in (_ROOT / 'configs').glob('*.py')
    if path.stem not in _NO_EXPERIMENTS
  )


def main():
  names = find_configs()
  chosen = flags.FLAGS.configs or names
  unknown = sorted(set(chosen) - set(names))
  if unknown:
    raise ValueError(f'--configs={unknown[0]} is none of {", ".join(names)}')
  print(
    '| config | parameters | multiply-adds | smoke form, s | bytes | outputs '
    '| .tflite differing | .onnx differing |\n' + '|---' * 8 + '|'
  )
  with tempfile.TemporaryDirectory() as folder:
    for name in chosen:
      row = [f'`{name}`', *count(name), *measure(name, pathlib.Path(folder))]
      print(f'| {" | ".join(row)} |', flush=True)


def count(name: str) -> list[str]:
  """Parameters and multiply-adds of the whole network."""
  config = importlib.import_module(f'configs.{name}').get_config()
  model, size = make_model(config), height_width(config.data.image_size)
  images = jax.ShapeDtypeStruct((1, *size, 3), np.uint8)
  shapes = jax.eval_shape(
    lambda images: model.init(jax.random.key(0), images, FLOAT), images
  )
  return [
    f'{count_parameters(shapes) / 1e6:.2f} M',
    f'{count_multiply_adds(model, size) / 1e6:,.0f} M',
  ]


def measure(name: str, folder: pathlib.Path) -> list[str]:
  """Seconds of the command, bytes of the program, differing outputs."""
  values = []
  if '_y1_' in name:
    config = importlib.import_module(f'configs.{name}').get_config('smoke')
    depth = config.model.depth_multiplier
    teacher = folder / f'teacher_{depth}'
    if not teacher.exists():
      _run(_TEACHER, teacher, [f'--config.model.depth_multiplier={depth}'])
    values = [f'--config.pretrained={teacher}']
  start = time.perf_counter()
  _run(name, folder / name, values)
  seconds = f'{time.perf_counter() - start:.0f}'
  network = load_network(str(folder / name))
  try:
    program = lower(network)
  except NoIntegerFormError:
    return [seconds, 'float alone', '', '', '']
  formats = ['program', 'tflite', 'onnx']
  images = load_example_images(network.config, None, _IMAGES)
  with contextlib.redirect_stdout(sys.stderr):
    results = roundtrip.export(
      program, folder / f'{name}.files', formats, images
    )
  return [
    seconds,
    f'{results["program"].bytes:,}',
    f'{results["program"].comparison.outputs:,}',
    *(f'{results[form].comparison.differing}' for form in formats[1:]),
  ]


def _run(name: str, workdir: pathlib.Path, values: list[str]):
  """Trains and evaluates the smoke form."""
  command = [
    sys.executable,
    '-m',
    'faceqat.main',
    f'--config=configs/{name}.py:smoke',
    f'--workdir={workdir}',
    *values,
  ]
  subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)


if __name__ == '__main__':
  flags.DEFINE_list('configs', None, 'Which; all if it is not given.')
  command.run(main)
