"""Measures a network while it trains, on images that training left out."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
from clu.metrics import Average

from faceqat.data import datasets, pipeline
from faceqat.evaluators import verification
from faceqat.evaluators.predict import make_predict
from faceqat.integer.program import CONTRACTS
from faceqat.losses.objective import Objective
from faceqat.quant.spec import CONTRACT_MODES, FLOAT, Mode
from faceqat.training.train_state import TrainState, validation_scores


def validate(
  state: TrainState,
  model,
  objective: Objective,
  with_targets: Callable[[dict], dict],
  data: datasets.TrainingData,
  config: ml_collections.ConfigDict,
  mode: Mode,
) -> dict[str, float]:
  """The objective on known people, verification on kept-out ones.

  On one device and rounded as `evaluate` does by default: what is compiled here
  serves there too.
  """
  evaluated = CONTRACT_MODES[CONTRACTS[0]] if mode.quantize else FLOAT
  variables = jax.tree.map(jnp.asarray, jax.device_get(state.variables))
  predict = make_predict(model, variables, evaluated)
  scores = {}
  batches = objective.per_example and [
    validation_scores(
      state.params['classifier'],
      state.objective_state,
      predict(batch['image']),
      with_targets(batch),
      objective=objective,
    )
    for batch in pipeline.batches(
      data.known, config.eval.batch_size, data.skipped
    )
  ]
  for name in batches[0] if batches else ():
    averages = (batch[name] for batch in batches)
    average = functools.reduce(Average.merge, averages)
    scores[f'validation/{name}'] = float(average.compute())
  if data.validation is not None:
    for name, value in verification.evaluate(
      predict, data.validation, batch_size=config.eval.batch_size
    ):
      scores[f'validation/verification_{name}'] = value
  return scores


def best_score(
  scores: dict[str, float] | None,
  config: ml_collections.ConfigDict,
  mode: Mode,
) -> float | None:
  """What the best checkpoint is chosen by; None where it is no candidate.

  A float network may verify better than its quantized successor, but could
  not be lowered.
  """
  if scores is None or (config.quant.enabled and not mode.quantize):
    return None
  return scores.get('validation/verification_accuracy')


def range_metrics(state: TrainState) -> dict[str, float]:
  """The activation ranges, for TensorBoard."""
  return {
    f'ranges/{name}': float(leaf)
    for name, leaf in _observed(state).items()
    if name.endswith(('/minimum', '/maximum'))
  }


def layer_paths(state: TrainState) -> list[str]:
  """The layers that have a quantizer."""
  return [
    name.removesuffix('/count')
    for name in _observed(state)
    if name.endswith('/count')
  ]


def _observed(state: TrainState) -> dict[str, jax.Array]:
  """`<layer>/minimum`, `<layer>/maximum`, `<layer>/count`, for one."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/').replace(
      '/quantizer/range', ''
    ): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.quant_stats)
  }
