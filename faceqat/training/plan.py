"""The schedule of a training: each step, and what is due after it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_collections

from faceqat.losses.objective import Objective
from faceqat.losses.regularization import make_regularization
from faceqat.quant.spec import Mode
from faceqat.training.optimizer import make_optimizer
from faceqat.training.stages import Stage, make_stages, mode_at, stage_at
from faceqat.training.train_state import Recipe


class Step(NamedTuple):
  """One step of a training.

  Attributes:
    recipe: what it shares with the other steps of its stage.
    mode: of its training steps.
    begins_stage: whether the optimiser starts anew, another stage being over.
  """

  recipe: Recipe
  mode: Mode
  begins_stage: bool


class Due(NamedTuple):
  """What is to be done after a step."""

  log: bool
  evaluate: bool
  save: bool


class Plan:
  """The steps of a training, by number from 0.

  Attributes:
    model: the network.
    objective: what is minimised.
    total: how many steps there are.
  """

  def __init__(
    self, config: ml_collections.ConfigDict, model, objective: Objective
  ):
    self.model, self.objective = model, objective
    self.total = config.total_steps
    self._config = config
    self._stages = make_stages(config)
    self._recipes = [
      make_recipe(config, model, objective, stage) for stage in self._stages
    ]

  def recipe_at(self, step: int) -> Recipe:
    """The recipe of a step; after all steps, that of the last stage."""
    return self._at(step)[1]

  def __getitem__(self, step: int) -> Step:
    stage, recipe, _ = self._at(step)
    return Step(
      recipe,
      mode_at(step, self._config.quant, stage.train_backbone),
      step == stage.start > 0,
    )

  def learning_rate(self, step: int) -> float:
    """That of the optimiser in a step."""
    stage, _, schedule = self._at(step)
    return float(schedule(step - stage.start))

  @property
  def last_mode(self) -> Mode:
    """The mode in which the training ends, with or without steps."""
    return mode_at(max(self.total - 1, 0), self._config.quant)

  def is_logged(self, done: int) -> bool:
    """Whether the step that made it `done` is logged in any case."""
    return done % self._config.log_steps == 0 or done == self.total

  def due(self, done: int, stops: bool) -> Due:
    """What is to be done after `done` steps.

    What the end of the training takes is not in it: it is evaluated, and saved
    with its score, once all steps are done.
    """
    last = done == self.total
    return Due(
      log=self.is_logged(done) or stops,
      evaluate=done % self._config.eval_steps == 0 and not stops and not last,
      save=done % self._config.checkpoint_steps == 0 or stops,
    )

  def _at(self, step):
    stage = stage_at(step, self._stages)
    return stage, *self._recipes[self._stages.index(stage)]


def make_recipe(
  config: ml_collections.ConfigDict, model, objective: Objective, stage: Stage
) -> tuple[Recipe, Callable[[int], jax.Array]]:
  """What the steps of a stage have in common, and its learning rate.

  Returns:
    The recipe, and the learning rate as a function of the stage's own steps.
  """
  settings = ml_collections.ConfigDict(config.optimizer)
  settings.learning_rate = stage.learning_rate
  optimizer, schedule = make_optimizer(settings, stage.steps)
  recipe = Recipe(
    model=model,
    optimizer=optimizer,
    objective=objective,
    regularization=make_regularization(config.regularization),
    train_backbone=stage.train_backbone,
    micro_batches=config.micro_batches,
    seed=config.seed,
  )
  return recipe, schedule
