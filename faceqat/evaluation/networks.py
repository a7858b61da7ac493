"""Evaluates a network in three precisions, or an integer program, on faces."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
import safetensors.numpy

from faceqat import progress
from faceqat.calibration.lower import lower
from faceqat.data import places, stated_faces
from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluation.sets import EvaluationSets, evaluate_sets, open_sets
from faceqat.evaluators import PRECISIONS, agreement
from faceqat.evaluators.predict import (
  make_integer_predict,
  make_predict,
  parameters_digest,
)
from faceqat.evaluators.verification import Predict
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files import atomic, folders
from faceqat.files.image_size import ImageSize
from faceqat.integer import program as integer_program
from faceqat.integer.program import CONTRACTS, IntegerProgram
from faceqat.models import complexity
from faceqat.models.network import Network
from faceqat.quant.norm import NoIntegerFormError
from faceqat.quant.quantizers import RangesMissingError
from faceqat.quant.spec import CONTRACT_MODES, FLOAT
from faceqat.report.layer_tables import agreement_table
from faceqat.training.history import CURVES, read_curves


def evaluate_network(
  network: Network,
  outdir: str,
  config: ml_collections.ConfigDict | None = None,
  contract: str = CONTRACTS[0],
  precisions: Sequence[str] = PRECISIONS,
  opened: EvaluationSets | None = None,
  full: bool = False,
  groups: Mapping[str, str] | None = None,
) -> dict:
  """Evaluates float, fake-quantized and integer arithmetic side by side.

  The last row, `integer_match`, has integer embeddings matched in integers: no
  float from the image to the decision. Where people were kept out of training,
  identification among them is measured too; the best checkpoint was chosen by
  verification on the same people.

  Writes `float.safetensors`, `program.safetensors`, `agreement.txt` and
  `agreement.json` to `outdir`, and the files of `evaluate_sets`. A network
  without ranges, or with a norm that has no integer form, is evaluated in
  float alone.

  Args:
    network: from a checkpoint.
    outdir: a folder; made if it does not exist.
    config: whose `eval` block names the pairs; the network's own by default.
    contract: whose rounding lowering and fake quantization follow.
    precisions: which of `PRECISIONS` to run on the pairs.
    opened: sets that were opened before the training, which has also warned of
      people in both.
    full: print every figure, in place of those to look at first.
    groups: of people of the first set, whose errors are measured too.

  Returns:
    By precision: metric name to value.

  Raises:
    ValueError: an unknown precision, or none that the network has, or pairs of
      other faces than it was trained on.
  """
  _check_precisions(precisions)
  config = config or network.config
  size = network.config.data.image_size
  faces = fingerprint.of_run(network.config)
  _check_faces(config, faces, 'the network', size)
  if opened is None:
    for note in places.trained_on(config.eval, network.config.data):
      print(note)
  sets = open_sets(config, size, network.config, faces, opened)
  outdir = folders.make(outdir)
  images = _first_images(sets.benchmarks[0], config)
  predicts, sizes, digests, why_float = _make_precisions(
    network, contract, images, outdir
  )
  _draw_curves(outdir, network.config)
  predicts = _chosen(predicts, precisions, why_float)
  _note_costs(network, size)
  return evaluate_sets(
    predicts, sizes, sets, config, outdir, full, digests, groups
  )


def _chosen(
  predicts: dict[str, Predict], precisions: Sequence[str], why_float: str
) -> dict[str, Predict]:
  chosen = {name: run for name, run in predicts.items() if name in precisions}
  if not chosen:
    raise ValueError(f'of {", ".join(precisions)} there is none: {why_float}')
  return chosen


def _note_costs(network: Network, size: ImageSize):
  parameters = complexity.count_parameters(network.variables)
  shapes = complexity.trace_shapes(network.model, size)
  multiply_adds = complexity.count_multiply_adds(shapes)
  progress.note(f'{parameters:,} parameters')
  progress.note(f'{multiply_adds:,} multiply-adds an image')


def _check_precisions(precisions: Sequence[str]):
  if not precisions or not set(precisions) <= set(PRECISIONS):
    raise ValueError(
      f'precisions are {", ".join(precisions) or "none"}; choose some of '
      f'{", ".join(PRECISIONS)}'
    )


def _make_precisions(
  network: Network, contract: str, images: np.ndarray, outdir: pathlib.Path
) -> tuple[dict[str, Predict], dict[str, int], dict[str, dict[str, str]], str]:
  """Lowers a network, and compares its layers where that can be done.

  Returns:
    By precision a predict function, the bytes of its file, and, but for fake
    quantization, its digests; and the reason why there is float alone, or ''.
  """
  model, variables = network.model, network.variables
  float_bytes = write_float(variables, outdir / 'float.safetensors')
  predicts = {'float': make_predict(model, variables, FLOAT)}
  sizes = {'float': float_bytes}
  digest = parameters_digest(network, 'float', FLOAT)
  digests = {'float': {'network': digest, 'program': ''}}
  try:
    program = lower(network, contract=contract)
  except (RangesMissingError, NoIntegerFormError) as error:
    print(f'only float can be evaluated: {error}')
    return predicts, sizes, digests, str(error)
  path = outdir / 'program.safetensors'
  integer_program.save(program, path)
  mode = CONTRACT_MODES[contract]
  predicts['fake_quant'] = make_predict(model, variables, mode)
  predicts['integer'] = make_integer_predict(program)
  # Fake quantization is float arithmetic on the float weights.
  sizes['fake_quant'] = float_bytes
  sizes['integer'] = path.stat().st_size
  digests['integer'] = _digests_of(program)
  _compare_layers(network, program, images, outdir)
  return predicts, sizes, digests, ''


def _digests_of(program: IntegerProgram) -> dict[str, str]:
  return {'network': '', 'program': integer_program.digest(program)}


def _compare_layers(
  network: Network,
  program: IntegerProgram,
  images: np.ndarray,
  outdir: pathlib.Path,
):
  """Writes where the precisions part, layer by layer; prints the worst."""
  with progress.doing('comparing the precisions layer by layer'):
    compared = agreement.compare_precisions(
      network.model, network.variables, program, images
    )
  table = agreement_table(compared)
  text = json.dumps(compared.to_json(), indent=2)
  atomic.write(outdir / 'agreement.txt', f'{table}\n'.encode())
  atomic.write(outdir / 'agreement.json', f'{text}\n'.encode())
  progress.note(compared.summary())


def evaluate_program(
  path: str,
  config: ml_collections.ConfigDict,
  outdir: str,
  full: bool = False,
  groups: Mapping[str, str] | None = None,
) -> dict:
  """Evaluates a saved program on the pairs of the config's `eval` block.

  Prints as `evaluate_network` does.

  Raises:
    ValueError: the file is no program or damaged, or the pairs are of other
      faces than it is for.
  """
  program = integer_program.load(path)
  size = program.tensors[program.input].shape[:2]
  faces = fingerprint.of_metadata(program.metadata)
  _check_faces(config, faces, path, size)
  sets = open_sets(config, size, faces=faces)
  return evaluate_sets(
    {'integer': make_integer_predict(program)},
    {'integer': pathlib.Path(path).stat().st_size},
    sets,
    config,
    folders.make(outdir),
    full,
    {'integer': _digests_of(program)},
    groups,
  )


def _check_faces(
  config: ml_collections.ConfigDict,
  trained: Fingerprint | None,
  name: str,
  image_size: ImageSize,
):
  """Refuses pairs of other faces, and says what cannot be compared."""
  for note in stated_faces.check_evaluation(
    config.eval, trained, name, image_size=image_size
  ):
    print(note)


def _draw_curves(workdir: pathlib.Path, config: ml_collections.ConfigDict):
  """Draws the training curves, where the folder is that of a training run."""
  # It takes a second to import.
  from faceqat.report import figures

  curves = read_curves(workdir)
  shown = [name for name in CURVES if name in curves]
  if shown:
    start = config.quant.start_step if config.quant.enabled else None
    figures.curves_figure(
      {name: curves[name] for name in shown}, workdir / 'curves.png', start
    )


def _first_images(pair_set: PairSet, config) -> np.ndarray:
  count = min(config.eval.agreement_images, len(pair_set.images))
  return np.stack([pair_set.images[index] for index in range(count)])


def write_float(variables: dict[str, Any], path: pathlib.Path) -> int:
  """Writes the float32 weights and statistics; returns the bytes on disk."""
  arrays = {
    jax.tree_util.keystr(keys, simple=True, separator='/'): np.asarray(leaf)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(variables)
    if not jax.tree_util.keystr(keys).startswith("['quant_stats']")
  }
  atomic.write(path, safetensors.numpy.save(arrays))
  return path.stat().st_size
