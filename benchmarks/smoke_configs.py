"""Trains, evaluates, lowers and exports every config in its smoke form.

  python -m benchmarks.smoke_configs

Prints a Markdown table. Of the config itself it has the parameters and the
multiply-adds of one image. Of the smoke form it has the seconds of
`faceqat.main` where nothing is compiled, and again where all of it is kept, the
bytes of the program, and how many outputs of the exported .tflite and .onnx
files differ from those of the integer evaluator.

`--configs=NAME,NAME` chooses files of configs/, without their ending. Those
with y1 in their names start from a smoke run of mobilefacenet_int8.
"""

import contextlib
import importlib
import pathlib
import sys
import tempfile
import time

import ml_collections
from absl import flags

from benchmarks import page_tables, running
from faceqat import command
from faceqat.calibration.lower import lower
from faceqat.data.example_images import load_example_images
from faceqat.export import roundtrip
from faceqat.models.build import make_model
from faceqat.models.complexity import (
  count_multiply_adds,
  count_parameters,
  trace_shapes,
)
from faceqat.quant.norm import NoIntegerFormError
from faceqat.training.checkpoint import load_network

_TITLES = (
  *('config', 'parameters', 'multiply-adds', 'smoke form, s', 'again, s'),
  *('bytes', 'outputs', '.tflite differing', '.onnx differing'),
)
_NO_EXPERIMENTS = ('base', 'common', 'compose', 'losses', 'models')
# Its smoke run, of the same depth, is where y1 configs start from.
_TEACHER = 'mobilefacenet_int8'
_IMAGES = 8


def find_configs() -> list[str]:
  """The names of all experiments."""
  return sorted(
    path.stem
    for path in (running.ROOT / 'configs').glob('*.py')
    if path.stem not in _NO_EXPERIMENTS
  )


def main():
  names = find_configs()
  chosen = flags.FLAGS.configs or names
  running.check_names('--configs', chosen, names)
  page_tables.print_titles(_TITLES)
  with tempfile.TemporaryDirectory() as folder:
    for name in chosen:
      parameters, multiply_adds, _ = count(get_config(name))
      page_tables.print_row(
        (
          f'`{name}`',
          f'{parameters / 1e6:.2f} M',
          f'{multiply_adds / 1e6:,.0f} M',
          *measure(name, pathlib.Path(folder)),
        )
      )


def get_config(name: str, form: str = '') -> ml_collections.ConfigDict:
  """The config of an experiment by its name."""
  return importlib.import_module(f'configs.{name}').get_config(form)


def count(config: ml_collections.ConfigDict) -> tuple[int, int, dict]:
  """Parameters, multiply-adds and the shapes of a network's variables."""
  shapes = dict(trace_shapes(make_model(config), config.data.image_size))
  multiply_adds = count_multiply_adds(shapes)
  del shapes['intermediates']
  return count_parameters(shapes), multiply_adds, shapes


def measure(name: str, folder: pathlib.Path) -> list[str]:
  """Seconds of the command, bytes of the program, differing outputs."""
  values = []
  if '_y1_' in name:
    depth = get_config(name, 'smoke').model.depth_multiplier
    teacher = folder / f'teacher_{depth}'
    if not teacher.exists():
      _train(_TEACHER, teacher, f'--config.model.depth_multiplier={depth}')
    values = [f'--config.pretrained={teacher}']
  values.append(f'--compilation_cache={folder / name}.compiled')
  seconds = []
  for again in ('', '.again'):
    start = time.perf_counter()
    _train(name, folder / f'{name}{again}', *values)
    seconds.append(f'{time.perf_counter() - start:.0f}')
  network = load_network(str(folder / name))
  try:
    program = lower(network)
  except NoIntegerFormError:
    return [*seconds, 'float alone', '', '', '']
  formats = ['program', 'tflite', 'onnx']
  images = load_example_images(network.config, None, _IMAGES)
  with contextlib.redirect_stdout(sys.stderr):
    results = roundtrip.export(
      program, folder / f'{name}.files', formats, images
    )
  return [
    *seconds,
    f'{results["program"].bytes:,}',
    f'{results["program"].comparison.outputs:,}',
    *(f'{results[form].comparison.differing}' for form in formats[1:]),
  ]


def _train(name: str, workdir: pathlib.Path, *values: str):
  """Trains and evaluates the smoke form."""
  running.run_module(
    'faceqat.main',
    f'--config=configs/{name}.py:smoke',
    *values,
    f'--workdir={workdir}',
  )


if __name__ == '__main__':
  flags.DEFINE_list('configs', None, 'Which; all if it is not given.')
  command.run(main)
