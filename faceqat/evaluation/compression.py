"""Fits a pretrained network to budgets of bytes: a run for each."""

import pathlib
import signal
from collections.abc import Sequence

from ml_collections import ConfigDict

from faceqat.calibration.bit_assignment import assign_bits, overrides_with
from faceqat.data.example_images import spread_training_images
from faceqat.evaluation.networks import evaluate_network
from faceqat.evaluation.sets import EvaluationSets, open_sets
from faceqat.evaluators import verification
from faceqat.models.network import Network
from faceqat.training.checkpoint import latest_config, load_network
from faceqat.training.loop import train

# Of a budget: what is learnt after the choice changes a file by some hundred
# bytes.
_SPARE = 0.01


class TrainingStoppedError(Exception):
  """A signal stopped a training, whose state is saved."""

  def __init__(self, number: signal.Signals):
    super().__init__(number.name)
    self.signal = number


def compress(
  config: ConfigDict,
  workdir: pathlib.Path,
  budgets: Sequence[int],
  *,
  num_images: int,
) -> list[pathlib.Path]:
  """Calibrates a network, then makes and evaluates a run for each budget.

  The bits of a budget are those that cost the calibrated network least
  (`bit_assignment.assign_bits`). A run that has begun keeps its own.

  Args:
    config: of the runs; `pretrained` names the network, and its bits are the
      most that a layer gets.
    workdir: takes the runs: `calibrated`, and one named after each budget.
    budgets: most bytes of the program's file.
    num_images: training images on which the cost of few bits is measured.

  Returns:
    The folders of the runs: the calibrated one, then those of the budgets.

  Raises:
    ValueError: the config, its data or a budget cannot be used.
    TrainingStoppedError: the same call continues from there.
  """
  _check(config)
  opened = open_sets(config, config.data.image_size)
  if not verification.has_folds(opened.benchmarks[0].fold):
    raise ValueError(
      f'the pairs of {opened.benchmarks[0].name} are of one fold, so they give '
      'no accuracy to compare; give eval.pairs of two folds or more'
    )
  whole = workdir / 'calibrated'
  runs = {budget: workdir / f'{budget}' for budget in budgets}
  network = _run(_calibration_of(config), whole, opened)
  overrides = {
    budget: found[0].quant.overrides
    for budget, run in runs.items()
    if (found := latest_config(run)) is not None
  }
  new = [budget for budget in budgets if budget not in overrides]
  if new:
    images = spread_training_images(config.data, None, num_images)
    # All of them before the first training: a budget too small shows at once.
    assignments = assign_bits(network, images, budgets=new, spare=_SPARE)
    for budget, assignment in zip(new, assignments, strict=True):
      chosen = overrides_with(config.quant, assignment.bits)
      overrides[budget] = ConfigDict(chosen)
  for budget, run in runs.items():
    fitted = config.copy_and_resolve_references()
    fitted.quant.overrides = overrides[budget]
    _run(fitted, run, opened)
  return [whole, *runs.values()]


def _check(config: ConfigDict):
  if not config.quant.enabled:
    raise ValueError(
      'quant.enabled is False, so there is nothing to fit to bytes; give a '
      'config with quantization, such as configs/mobilefacenet_y1_compress.py'
    )
  if not config.pretrained:
    raise ValueError(
      'pretrained is empty; give the network to compress: a weight file, or '
      'the folder of a run'
    )


def _calibration_of(config: ConfigDict) -> ConfigDict:
  """The config without what is learnt after the ranges are known."""
  calibration = config.copy_and_resolve_references()
  quant = calibration.quant
  with calibration.unlocked():
    calibration.total_steps = 0
    calibration.stages = ConfigDict()
    quant.update(
      start_step=0, start_epochs=0.0, freeze_bn_step=0, reconstruction_steps=0
    )
    # Learned steps are of one number of bits.
    for layer in (quant.default, *quant.overrides.values()):
      layer.learned_steps = False
  return calibration


def _run(
  config: ConfigDict, folder: pathlib.Path, opened: EvaluationSets
) -> Network:
  """Trains a run, or continues it, and evaluates it."""
  print(f'\n{folder}')
  stopped_by = train(config, str(folder))
  if stopped_by is not None:
    raise TrainingStoppedError(stopped_by)
  network = load_network(str(folder))
  evaluate_network(network, str(folder), config, opened=opened)
  return network
