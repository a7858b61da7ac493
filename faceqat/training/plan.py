"""The schedule of a training: each step, and what is due after it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_collections
from jax.sharding import Mesh

from faceqat.losses.objective import make_objective
from faceqat.losses.objective_base import Objective
from faceqat.losses.regularization import make_regularization
from faceqat.models.build import make_model
from faceqat.quant.spec import Mode
from faceqat.training.checks import check_batches, check_people, check_sample
from faceqat.training.optimizer import make_log_decay, make_optimizer
from faceqat.training.stages import Stage, make_stages, mode_at, stage_at
from faceqat.training.train_state import Recipe


class Step(NamedTuple):
  """One step of a training; a later stage begins with a new optimiser."""

  recipe: Recipe
  mode: Mode
  begins_stage: bool


class Due(NamedTuple):
  """What is to be done after a step."""

  log: bool
  evaluate: bool
  save: bool


class Plan:
  """The model, the objective, and the steps of a training, by number from 0.

  Args:
    config: of the training.
    mesh, num_classes: of the training; None: for what does not train.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    mesh: Mesh | None = None,
    num_classes: int | None = None,
  ):
    self.model = make_model(config)
    self.objective = make_objective(config.loss)
    if num_classes is not None:
      check_people(config, self.objective, num_classes)
    if mesh is not None:
      self.objective = self.objective.placed(mesh, num_classes)
    self.total = config.total_steps
    check_batches(config, self.objective)
    check_sample(config, self.objective)
    self._config = config
    self._stages = make_stages(config)
    self._recipes = [
      make_recipe(config, self.model, self.objective, stage)
      for stage in self._stages
    ]

  def recipe_at(self, step: int) -> Recipe:
    """The recipe of a step; after the last step, that of the last stage."""
    return self._at(step)[1]

  def __getitem__(self, step: int) -> Step:
    stage, recipe, _ = self._at(step)
    return Step(
      recipe,
      mode_at(step, self._config.quant, stage.train_backbone),
      step == stage.start > 0,
    )

  def learning_rate(self, step: int) -> float:
    stage, _, schedule = self._at(step)
    return float(schedule(step - stage.start))

  @property
  def last_mode(self) -> Mode:
    """The mode at the end of the training, also of one without steps."""
    return mode_at(max(self.total - 1, 0), self._config.quant)

  def is_logged(self, done: int) -> bool:
    """Whether metrics are logged after `done` steps in any case."""
    return done % self._config.log_steps == 0 or done == self.total

  def due(self, done: int, stops: bool) -> Due:
    """What is to be done after `done` steps.

    The validation and the checkpoint at the end of the training are not part
    of it: they follow the last step in any case.
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
  """The recipe of a stage, and its learning rate by its own steps."""
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
    log_decay=make_log_decay(settings, schedule, stage.start)
    if objective.samples
    else None,
  )
  return recipe, schedule
