"""A training in stages, such as the classifier alone, then all, then int8.

Each stage has its own learning rate and schedule. It starts its optimiser anew,
as the averages of an earlier stage are of other gradients.
"""

from typing import NamedTuple

import ml_collections

from faceqat.quant.spec import Mode


class Stage(NamedTuple):
  """A part of a training.

  Attributes:
    name: as in the config.
    start, end: its steps, from 0, without the end.
    learning_rate: the highest of its schedule.
    train_backbone: off, the classifier alone is trained, and the backbone keeps
      its batch statistics as well.
  """

  name: str
  start: int
  end: int
  learning_rate: float
  train_backbone: bool

  @property
  def steps(self) -> int:
    return self.end - self.start


def make_stages(config: ml_collections.ConfigDict) -> list[Stage]:
  """Reads the block `stages`, in the order of the names.

  Without stages the training is one, with `optimizer.learning_rate`.

  Raises:
    ValueError: a stage without steps, or stages that do not add up to
      `total_steps`.
  """
  rate = config.optimizer.learning_rate
  if not config.stages:
    return [Stage('', 0, config.total_steps, rate, True)]
  stages, start = [], 0
  for name in sorted(config.stages):
    fields = config.stages[name]
    if fields.steps < 1:
      raise ValueError(f'stages.{name}.steps is {fields.steps}; give 1 or more')
    end = start + fields.steps
    stages.append(
      Stage(name, start, end, fields.learning_rate, fields.train_backbone)
    )
    start = end
  if start != config.total_steps:
    raise ValueError(
      f'stages have {start} steps together, but total_steps is '
      f'{config.total_steps}; give as many'
    )
  return stages


def stage_at(step: int, stages: list[Stage]) -> Stage:
  """The stage of step `step`, from 0; after the last step, the last stage."""
  return next((stage for stage in stages if step < stage.end), stages[-1])


def mode_at(
  step: int, quant: ml_collections.ConfigDict, train_backbone: bool = True
) -> Mode:
  """The mode of step `step`, from 0."""
  quantize = quant.enabled and step >= quant.start_step
  frozen = not train_backbone or 0 <= quant.freeze_bn_step <= step
  return Mode(
    train=True,
    quantize=quantize,
    observe=quantize and train_backbone,
    freeze_bn=frozen,
    rounding=quant.rounding,
  )
