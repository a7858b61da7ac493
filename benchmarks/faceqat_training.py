"""The faceqat side of `training_step`: `train_step`, jitted as in training."""

import functools
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from benchmarks import training_task as task
from configs import common
from faceqat.losses.objective import Margin
from faceqat.losses.regularization import Regularization
from faceqat.models.build import make_model
from faceqat.quant.spec import Mode
from faceqat.training.optimizer import make_optimizer
from faceqat.training.train_state import Recipe, create_state, train_step


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
  config = _config(name)
  model = make_model(config)
  optimizer, _ = make_optimizer(config.optimizer, total_steps=1)
  recipe = Recipe(
    model=model,
    optimizer=optimizer,
    objective=Margin('arcface', task.SCALE, task.MARGIN, label_smoothing=0.0),
    regularization=Regularization(weight=0.0, decay=1.0),
    train_backbone=True,
    micro_batches=1,
    seed=0,
  )
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
  return {'float': float_step, 'QAT': qat_step}, size


def _config(name):
  return ConfigDict(
    {
      'model': task.make_model_block(name),
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
