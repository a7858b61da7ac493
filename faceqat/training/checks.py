"""Checks the config of a training before anything is computed."""

import math

import ml_collections

from faceqat.data import places
from faceqat.fields import check_value
from faceqat.losses.objective_base import Objective
from faceqat.quant.numerics import ROUNDINGS


def check_steps(config: ml_collections.ConfigDict):
  """Refuses intervals, seeds and other numbers that no training can have.

  Raises:
    ValueError: naming the field.
  """
  for name, value in (
    ('log_steps', config.log_steps),
    ('eval_steps', config.eval_steps),
    ('checkpoint_steps', config.checkpoint_steps),
    ('eval.batch_size', config.eval.batch_size),
    ('micro_batches', config.micro_batches),
  ):
    if value < 1:
      raise ValueError(f'{name} is {value}; it is 1 or more')
  for name, seed in (('seed', config.seed), ('data.seed', config.data.seed)):
    if not 0 <= seed < 2**32:
      raise ValueError(f'{name} is {seed}; it is 0 or more, and below 2^32')
  check_value('quant.rounding', config.quant.rounding, ROUNDINGS)
  if config.quant.enabled and config.quant.calibration_steps < 1:
    raise ValueError(
      f'quant.calibration_steps is {config.quant.calibration_steps}; it is 1 '
      'or more where quant.enabled is on'
    )
  if (
    config.loss.name == 'distillation'
    and not config.loss.get('teacher')
    and not config.pretrained
  ):
    raise ValueError(
      "loss.name is 'distillation', but loss.teacher is empty, and pretrained "
      'is empty; give the teacher: a weight file, the folder of a run, or sface'
    )


def check_batches(config: ml_collections.ConfigDict, objective: Objective):
  """Refuses batches that the objective cannot take.

  Raises:
    ValueError: naming the fields.
  """
  parts = config.micro_batches
  if config.batch_size % parts:
    raise ValueError(
      f'batch_size is {config.batch_size}, which does not divide into {parts} '
      'micro_batches; give a multiple'
    )
  if objective.per_example:
    return
  if parts > 1:
    raise ValueError(
      f'micro_batches is {parts}, but loss.name {config.loss.name!r} compares '
      'the images of a whole batch with each other; give micro_batches 1'
    )
  if not config.data.people_per_batch:
    raise ValueError(
      f'loss.name is {config.loss.name!r}, which needs several images of a '
      'person in a batch; give data.people_per_batch, such as '
      f'{max(2, config.batch_size // 4)}'
    )


def check_people(
  config: ml_collections.ConfigDict, objective: Objective, num_people: int
):
  """Refuses labels that tell nobody apart.

  Args:
    config: of the training.
    objective: that it makes.
    num_people: in the training set, without those held out.

  Raises:
    ValueError: naming the set and the objective.
  """
  if num_people < 2 and not objective.needs_teacher:
    raise ValueError(
      f'{places.shown(config.data.path)} has images of {num_people} people to '
      f'train on, but loss.name {config.loss.name!r} tells people apart; give '
      'two or more, or a loss without labels, --config=CONFIG:loss=distillation'
    )


def check_sample(config: ml_collections.ConfigDict, objective: Objective):
  """Refuses a penalty that a sample of the classes would change.

  Raises:
    ValueError: naming the fields.
  """
  if objective.samples and config.regularization.weight:
    raise ValueError(
      f'regularization.weight is {config.regularization.weight}, but '
      f'loss.sample_rate is {config.loss.sample_rate}: the penalty would be of '
      'the sampled people alone; give regularization.weight 0, or '
      'loss.sample_rate 1'
    )


def with_start_step(
  config: ml_collections.ConfigDict, num_images: int
) -> ml_collections.ConfigDict:
  """The config with `quant.start_epochs` turned into `quant.start_step`.

  Raises:
    ValueError: the training is over before that step.
  """
  config = config.copy_and_resolve_references()
  epochs = config.quant.start_epochs
  if not epochs:
    return config
  start_step = math.ceil(epochs * num_images / config.batch_size)
  if config.quant.enabled and start_step >= config.total_steps:
    raise ValueError(
      f'quant.start_epochs is {epochs}, which is step {start_step} of '
      f'{num_images} images, but total_steps is {config.total_steps}; train '
      'longer or quantize earlier'
    )
  config.quant.start_step = start_step
  return config
