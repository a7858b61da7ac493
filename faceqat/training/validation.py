"""Measures a network during training, on images that it is not trained on."""

from collections.abc import Callable

import jax
import ml_collections
from clu.metrics import Average

from faceqat.data import datasets, pipeline
from faceqat.evaluators import verification
from faceqat.evaluators.predict import make_predict
from faceqat.integer.program import CONTRACTS
from faceqat.quant.spec import CONTRACT_MODES, FLOAT, Mode
from faceqat.training.plan import Plan
from faceqat.training.train_state import (
  TrainState,
  named_leaves,
  validation_scores,
)


def validate(
  state: TrainState,
  plan: Plan,
  with_targets: Callable[[dict], dict],
  data: datasets.TrainingData,
  config: ml_collections.ConfigDict,
  mode: Mode,
) -> dict[str, float]:
  """The objective on known people, verification on kept-out ones.

  Runs on one device and with the default rounding of `evaluate`, which can then
  use what is compiled here.
  """
  evaluated = CONTRACT_MODES[CONTRACTS[0]] if mode.quantize else FLOAT
  host = jax.device_get(state.variables)
  variables = jax.device_put(host, may_alias=False)
  predict = make_predict(plan.model, variables, evaluated)
  averages: dict[str, Average] = {}
  known = data.known if plan.objective.per_example else ()
  for batch in pipeline.batches(known, config.eval.batch_size, data.skipped):
    found = validation_scores(
      state.params['classifier'],
      state.objective_state,
      predict(batch['image']),
      with_targets(batch),
      objective=plan.objective,
    )
    for name, average in found.items():
      seen = averages.get(name)
      averages[name] = seen.merge(average) if seen else average
  scores = {
    f'validation/{name}': float(average.compute())
    for name, average in averages.items()
  }
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

  A float network may verify better than the quantized one that follows it, but
  it has no ranges and cannot be lowered.
  """
  if scores is None or (config.quant.enabled and not mode.quantize):
    return None
  return scores.get('validation/verification_accuracy')


def range_metrics(state: TrainState) -> dict[str, float]:
  """The activation ranges, for TensorBoard."""
  return {
    f'ranges/{name.replace("/quantizer/range", "")}': float(leaf)
    for name, leaf in named_leaves(state.quant_stats).items()
    if name.endswith(('/minimum', '/maximum'))
  }
