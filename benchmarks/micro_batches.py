"""Measures the memory that micro-batches save and the time they cost.

  python -m benchmarks.micro_batches --config=configs/mbv2_int8.py

Compiles the quantized training step of a config for the whole batch and for
parts of it. For each it prints the temporary bytes of the compiled step (XLA's
own analysis, without arguments and results) and the time of a step, in turns.
"""

import statistics

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from benchmarks import page_tables, timing
from faceqat import command
from faceqat.files.image_size import height_width
from faceqat.losses.objective import make_objective
from faceqat.models.build import make_model
from faceqat.quant.spec import Mode
from faceqat.training.checks import check_batches
from faceqat.training.plan import make_recipe
from faceqat.training.stages import make_stages
from faceqat.training.train_state import create_state, train_step

_CLASSES = 1000
_MODE = Mode(train=True, quantize=True, observe=True)


def main():
  config = flags.FLAGS.config
  # All are compared with the whole batch.
  numbers = [1, *sorted(set(map(int, flags.FLAGS.parts)) - {1})]
  size = height_width(config.data.image_size)
  rng = np.random.default_rng(0)
  batch = jax.device_put(
    {
      'image': rng.integers(0, 256, (config.batch_size, *size, 3), np.uint8),
      'label': rng.integers(0, _CLASSES, config.batch_size, np.int32),
    }
  )
  steps, memory = {}, {}
  for parts in numbers:
    config.micro_batches = parts
    steps[parts], memory[parts] = _compile(config, batch)
  seconds = timing.interleave(steps, flags.FLAGS.rounds)
  print(timing.allocator())
  page_tables.print_titles(
    ('micro_batches', 'temporary MB', 'ratio', 's a step', 'ratio')
  )
  for parts in numbers:
    ratio = timing.median_ratio(seconds[parts], seconds[1])
    page_tables.print_row(
      (
        parts,
        f'{memory[parts] / 1e6:,.0f}',
        f'{memory[parts] / memory[1]:.2f}',
        f'{statistics.median(seconds[parts]):.2f}',
        f'{ratio:.2f}',
      )
    )


def _compile(config, batch):
  """A function that takes a step, and the temporary bytes of the step."""
  model, objective = make_model(config), make_objective(config.loss)
  check_batches(config, objective)
  recipe, _ = make_recipe(config, model, objective, make_stages(config)[0])
  state = create_state(
    recipe, num_classes=_CLASSES, image_size=config.data.image_size
  )
  step = jax.jit(
    train_step, static_argnames=('recipe', 'mode'), donate_argnames='state'
  )
  compiled = step.lower(state, batch, recipe=recipe, mode=_MODE).compile()

  def run():
    nonlocal state
    state, metrics = compiled(state, batch)
    return float(metrics['loss'])

  return run, compiled.memory_analysis().temp_size_in_bytes


if __name__ == '__main__':
  config_flags.DEFINE_config_file('config', None, 'The experiment.')
  flags.DEFINE_list('parts', '2,4,8', 'Into how many the batch is cut.')
  flags.DEFINE_integer(
    'rounds', 3, 'Steps of each that are timed.', lower_bound=1
  )
  flags.mark_flags_as_required(['config'])
  command.run(main)
