"""Times a training step in faceqat and in PyTorch, float and QAT, in turns.

  python -m benchmarks.training_step --model=mobilenet_v2

Each step is forward, ArcFace over 1000 classes, backward and SGD with momentum,
on one batch of 112x112 images that stays in memory. All have the same number of
threads and the same allocator. bf16 is model.dtype=bfloat16, and autocast in
PyTorch; parameters are float32. Settings of PyTorch that are slow by default
are replaced by faster ones (see `torch_training`).

Use an idle machine: PyTorch's threads wait by spinning, so on a busy one its
times grow tenfold. Or set OMP_WAIT_POLICY=passive.
"""

import functools
import math
import statistics
from collections.abc import Callable

import jax
from absl import flags
from ml_collections import ConfigDict

from benchmarks import timing
from benchmarks import training_task as task
from configs import common
from faceqat import command
from faceqat.losses.objective import Margin
from faceqat.losses.regularization import Regularization
from faceqat.models.build import make_model
from faceqat.quant.spec import Mode
from faceqat.training.optimizer import make_optimizer
from faceqat.training.train_state import Recipe, create_state, train_step

# Numerator, denominator, goal. `PyTorch` is its fastest step in float or bf16.
RATIOS = (
  ('float', 'PyTorch', 1.0),
  ('QAT', 'float', 1.1),
  ('QAT', 'PyTorch QAT', 0.5),
  ('bf16', 'float', 1.0),
  ('QAT bf16', 'QAT', 1.0),
)
# What matters of a processor for these times.
FEATURES = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16')
# A dtype, and what its float and its QAT step are called.
DTYPES = {
  'float32': ('float', 'QAT'),
  'bfloat16': ('bf16', 'QAT bf16'),
}


def make_steps(
  name: str, batch_size: int
) -> tuple[dict[str, Callable[[], float]], int]:
  """Makes the steps of a model.

  Returns:
    By name functions that take a step and return its loss; and the number of
    parameters that each trains.
  """
  images, labels = task.make_batch(batch_size)
  batch = jax.device_put({'image': images, 'label': labels})
  steps = {}
  for dtype, names in DTYPES.items():
    *pair, size = _make_pair(name, dtype, batch)
    steps |= zip(names, pair)
  return steps, size


def make_recipe(name: str, dtype: str, depth_multiplier: float = 1.0) -> Recipe:
  """What a step of a model in a dtype trains."""
  config = _config(name, dtype, depth_multiplier)
  optimizer, _ = make_optimizer(config.optimizer, total_steps=1)
  return Recipe(
    model=make_model(config),
    optimizer=optimizer,
    objective=Margin('arcface', task.SCALE, task.MARGIN, label_smoothing=0.0),
    regularization=Regularization(weight=0.0, decay=1.0),
    train_backbone=True,
    micro_batches=1,
    seed=0,
  )


def _make_pair(name, dtype, batch):
  """The float step, the QAT step, and the number of parameters."""
  recipe = make_recipe(name, dtype)
  step = jax.jit(
    functools.partial(train_step, recipe=recipe),
    static_argnames='mode',
    donate_argnames='state',
  )

  def make_step(mode):
    state = create_state(
      recipe, num_classes=task.NUM_CLASSES, image_size=task.IMAGE_SIZE
    )

    def run():
      nonlocal state
      state, metrics = jax.block_until_ready(step(state, batch, mode=mode))
      return float(metrics['loss'])

    return run, sum(leaf.size for leaf in jax.tree.leaves(state.params))

  float_step, size = make_step(Mode(train=True))
  qat_step, _ = make_step(Mode(train=True, quantize=True, observe=True))
  return float_step, qat_step, size


def _config(name, dtype, depth_multiplier):
  return ConfigDict(
    {
      'model': {
        **task.make_model_block(name),
        'dtype': dtype,
        'depth_multiplier': depth_multiplier,
      },
      'quant': common.int8(),
      'optimizer': {
        **common.optimizer(),
        'name': 'sgd',
        'learning_rate': task.LEARNING_RATE,
        'momentum': task.MOMENTUM,
        'weight_decay': task.WEIGHT_DECAY,
        'warmup_steps': 0,
        'schedule': 'constant',
        'clip_global_norm': 0.0,
      },
    }
  )


def checked(name, step):
  """A step that raises if its loss is not finite."""

  def run():
    loss = step()
    if not math.isfinite(loss):
      raise FloatingPointError(f'{name}: the loss is {loss}')

  return run


def main():
  # Only this benchmark needs PyTorch.
  from benchmarks import torch_training

  args = flags.FLAGS
  timing.limit_threads(args.threads)
  ours, size = make_steps(args.model, args.batch_size)
  theirs, their_size = torch_training.make_steps(
    args.model, args.batch_size, args.threads
  )
  if size != their_size:
    raise ValueError(
      f"our {args.model} has {size} parameters, PyTorch's {their_size}"
    )
  print(
    f'{args.model}, {size} parameters with the classifier, batch '
    f'{args.batch_size}, {args.threads} threads\n{timing.allocator()}\n'
    f'{timing.processor(FEATURES)}',
    flush=True,
  )
  steps = {name: checked(name, step) for name, step in (ours | theirs).items()}
  times = timing.interleave(steps, args.rounds)
  for name, seconds in times.items():
    median = statistics.median(seconds)
    rate = args.batch_size / median
    print(f'{name:24} {1e3 * median:7.0f} ms {rate:7.1f} images/s')
  best = min(
    (name for name in theirs if 'QAT' not in name),
    key=lambda name: statistics.median(times[name]),
  )
  print(f'PyTorch is {best}')
  times['PyTorch'] = times[best]
  for name, reference, goal in RATIOS:
    ratio = timing.median_ratio(times[name], times[reference])
    print(f'{name + " / " + reference:24} {ratio:7.2f}    goal {goal}')


if __name__ == '__main__':
  timing.define_flags(rounds=7, model=True)
  flags.DEFINE_integer('batch_size', 64, 'Images a step.', lower_bound=2)
  command.restart_with_tuned_allocator()
  command.run(main)
