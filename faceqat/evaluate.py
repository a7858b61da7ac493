"""Evaluates a training run, or a saved integer program, on face pairs.

  python -m faceqat.evaluate --model=runs/mbv2_int8
  python -m faceqat.evaluate --model=mbv2.safetensors \
    --config=configs/mbv2_int8.py

The first prints one table for float, fake-quantized and integer arithmetic,
and for integer embeddings that are matched in integers too; a program has only
the last two. The pairs are those of the config's `eval` block: the run's own
config, unless another one is given.
"""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
import safetensors.numpy
from absl import flags
from ml_collections import config_flags

from faceqat import atomic, command
from faceqat.checkpoint import Network, load_network
from faceqat.data import sources
from faceqat.data.pairs import PairSet
from faceqat.evaluators import (
  agreement,
  identification,
  scores,
  verification,
)
from faceqat.integer import matching
from faceqat.integer import program as integer_program
from faceqat.integer.evaluator import make_evaluator
from faceqat.integer.program import CONTRACTS
from faceqat.lower import lower
from faceqat.models import complexity
from faceqat.quant.norm import NoIntegerFormError
from faceqat.quant.quantizers import RangesMissingError
from faceqat.quant.spec import FLOAT, TWINS
from faceqat.report import figures, table
from faceqat.report.history import read_curves
from faceqat.train_state import make_predict

# What the picture of a training shows; TensorBoard has the rest.
_CURVES = (
  'train/loss',
  'validation/loss',
  'train/accuracy',
  'train/positive_fraction',
  'validation/accuracy',
  'validation/verification_accuracy',
  'train/learning_rate',
)

READINGS = ('float', 'fake_quant', 'integer')

Predict = Callable[[np.ndarray], np.ndarray]


def make_integer_predict(program: integer_program.IntegerProgram) -> Predict:
  """From uint8 images to int8 embeddings less their zero point, in int16.

  These are templates of `matching`, and so is the sum of two. The embedding's
  scale plays no part in a cosine.
  """
  zero_point = program.tensors[program.output].zero_point
  run = make_evaluator(program)
  return jax.jit(
    lambda images: matching.template(run(images), zero_point=zero_point)
  )


def evaluate_network(
  network: Network,
  outdir: str,
  config: ml_collections.ConfigDict | None = None,
  contract: str = CONTRACTS[0],
  readings: Sequence[str] = READINGS,
) -> dict:
  """Evaluates float, fake-quantized and integer arithmetic side by side.

  The last row, `integer_match`, has the integer program's embeddings matched in
  integers: no float from the image to the decision.

  Where people were kept out of training, identification among them is measured
  as well; the best checkpoint was chosen by verification on the same people.

  Writes `float.safetensors`, `program.safetensors`, `results.json`,
  `scores.safetensors`, `roc.png`, `pairs.png` and `agreement.txt` to `outdir`,
  and prints the network's size and the table. A network without ranges, or
  with a norm that has no integer form, is evaluated in float alone.

  Args:
    network: from a checkpoint.
    outdir: a folder; made if it does not exist.
    config: whose `eval` block names the pairs; the network's own by default.
    contract: whose rounding the integer program and its fake-quantized twin
      follow.
    readings: which of `READINGS` to run on the pairs.

  Returns:
    By reading: metric name to value.

  Raises:
    ValueError: an unknown reading, or none that the network has.
  """
  unknown = sorted(set(readings) - set(READINGS))
  if unknown or not readings:
    raise ValueError(
      f'readings are {", ".join(readings) or "none"}; choose some of '
      f'{", ".join(READINGS)}'
    )
  config = config or network.config
  pair_set = sources.make_evaluation_pairs(
    config.eval, image_size=network.config.data.image_size
  )
  strangers = _open_strangers(network.config, config)
  outdir = _make_folder(outdir)
  model, variables = network.model, network.variables
  float_bytes = _write_float(variables, outdir / 'float.safetensors')
  predicts = {'float': make_predict(model, variables, FLOAT)}
  sizes = {'float': float_bytes}
  try:
    program = lower(network, contract=contract)
  except (RangesMissingError, NoIntegerFormError) as error:
    why_float = str(error)
    print(f'only float can be evaluated: {why_float}')
  else:
    program_path = outdir / 'program.safetensors'
    integer_program.save(program, program_path)
    predicts['fake_quant'] = make_predict(model, variables, TWINS[contract])
    predicts['integer'] = make_integer_predict(program)
    # Fake quantization is float arithmetic on the float weights.
    sizes['fake_quant'] = float_bytes
    sizes['integer'] = program_path.stat().st_size
    compared = agreement.compare(
      model, variables, program, _first_images(pair_set, config)
    )
    atomic.write(outdir / 'agreement.txt', f'{compared.table()}\n'.encode())
    print(compared.summary())
  _draw_curves(outdir, network.config)
  predicts = {name: run for name, run in predicts.items() if name in readings}
  if not predicts:
    raise ValueError(f'of {", ".join(readings)} there is none: {why_float}')
  parameters = complexity.count_parameters(variables)
  print(f'{parameters:,} parameters')
  size = network.config.data.image_size
  multiply_adds = complexity.count_multiply_adds(model, size)
  print(f'{multiply_adds:,} multiply-adds an image')
  return _report(predicts, sizes, pair_set, config, outdir, strangers)


def evaluate_program(
  path: str, config: ml_collections.ConfigDict, outdir: str
) -> dict:
  """Evaluates a saved program on the pairs of the config's `eval` block.

  Raises:
    ValueError: the file is no program, or is damaged.
  """
  program = integer_program.load(path)
  size = program.tensors[program.input].shape[0]
  pair_set = sources.make_evaluation_pairs(config.eval, image_size=size)
  return _report(
    {'integer': make_integer_predict(program)},
    {'integer': pathlib.Path(path).stat().st_size},
    pair_set,
    config,
    _make_folder(outdir),
  )


def _report(
  predicts: Mapping[str, Predict],
  sizes: Mapping[str, int],
  pair_set: PairSet,
  config: ml_collections.ConfigDict,
  outdir: pathlib.Path,
  strangers=None,
) -> dict[str, dict[str, float]]:
  """Runs the same evaluators once a reading; prints, writes and draws."""
  results, cosines = {}, {}
  same = np.asarray(pair_set.same, bool)
  float_images = None
  for reading, predict in predicts.items():
    print(f'evaluating {reading} on {len(pair_set)} pairs', flush=True)
    embeddings = verification.embed_pairs(
      predict, pair_set, config.eval.batch_size
    )
    cosines[reading] = verification.cosine(embeddings.first, embeddings.second)
    row = dict(verification.summarize(cosines[reading], same, pair_set.fold))
    if strangers is not None:
      row.update(
        identification.evaluate(
          predict,
          strangers,
          images_per_person=config.eval.identification_images,
          batch_size=config.eval.batch_size,
        )
      )
    if reading == 'float':
      float_images = embeddings.images
    elif float_images is not None:
      row.update(_summarize_nearness(embeddings.images, float_images))
    results[reading] = {**row, 'bytes': sizes[reading]}
    if np.issubdtype(embeddings.images.dtype, np.integer):
      results[f'{reading}_match'] = {
        **_summarize_match(embeddings, same, pair_set.fold),
        'bytes': sizes[reading],
      }
  text = json.dumps(table.results_json(results), indent=2)
  atomic.write(outdir / 'results.json', f'{text}\n'.encode())
  scores.save(scores.of_pairs(pair_set, cosines), outdir)
  # Without the integer matching: its curve is that of the integer reading, as
  # their scores are less than 2^-29 apart.
  curves = {reading: (values, same) for reading, values in cosines.items()}
  figures.roc_figure(curves, outdir / 'roc.png')
  # The last reading is the one that ships.
  figures.pairs_figure(pair_set, cosines[reading], outdir / 'pairs.png')
  print(table.results_table(results))
  print(f'curves and hardest pairs as pictures: {outdir}')
  return results


def _summarize_nearness(
  embeddings: np.ndarray, float_embeddings: np.ndarray
) -> dict[str, float]:
  """How near the embeddings [M, D] are to the float ones of the same images."""
  cosines = verification.cosine(embeddings, float_embeddings)
  return {
    'cosine_mean': float(np.mean(cosines)),
    'cosine_p1': float(np.percentile(cosines, 1)),
  }


def _summarize_match(
  embeddings: verification.PairEmbeddings, same: np.ndarray, fold: np.ndarray
) -> dict[str, float]:
  """What verification gives where the pairs are compared in integers.

  The threshold is there twice: as a cosine, and as what a device compares a
  score with.
  """
  cosines = matching.cosine(embeddings.first, embeddings.second)
  results = dict(verification.summarize(np.asarray(cosines), same, fold))
  threshold = results['threshold']
  results['threshold'] = threshold / matching.ONE
  results['threshold_q29'] = round(threshold)
  return results


def _make_folder(path: str | os.PathLike) -> pathlib.Path:
  """Made once all inputs are read: a wrong one leaves nothing behind."""
  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  return folder


def _open_strangers(
  trained: ml_collections.ConfigDict, config: ml_collections.ConfigDict
):
  """The people kept out of a training; None where there is none to ask."""
  images_per_person = config.eval.identification_images
  if not images_per_person:
    return None
  if images_per_person < 2:
    raise ValueError(
      f'eval.identification_images is {images_per_person}; give 2 or more, one '
      'for the gallery, or 0 to leave identification out'
    )
  try:
    return sources.make_held_out_people(trained.data)
  except ValueError as error:
    # A run is also evaluated where its training set is not.
    print(f'without rank-1: {error}')
    return None


def _draw_curves(workdir: pathlib.Path, config: ml_collections.ConfigDict):
  """Draws the training curves, where the folder is that of a training run."""
  curves = read_curves(workdir)
  shown = [name for name in _CURVES if name in curves]
  if shown:
    start = config.quant.start_step if config.quant.enabled else None
    figures.curves_figure(
      {name: curves[name] for name in shown}, workdir / 'curves.png', start
    )


def _first_images(pair_set: PairSet, config) -> np.ndarray:
  count = min(config.eval.agreement_images, len(pair_set.images))
  return np.stack([pair_set.images[index] for index in range(count)])


def _write_float(variables: dict[str, Any], path: pathlib.Path) -> int:
  """Writes the float32 weights and statistics; returns the bytes on disk."""
  arrays = {
    jax.tree_util.keystr(keys, simple=True, separator='/'): np.asarray(leaf)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(variables)
    if not jax.tree_util.keystr(keys).startswith("['quant_stats']")
  }
  atomic.write(path, safetensors.numpy.save(arrays))
  return path.stat().st_size


def main():
  args = flags.FLAGS
  model = pathlib.Path(args.model)
  if not model.exists():
    raise ValueError(
      f'--model={model} does not exist; give the folder of a training run or '
      'a program file'
    )
  if model.is_dir():
    network = load_network(str(model), args.step)
    evaluate_network(
      network,
      args.out or model,
      args.config,
      args.contract,
      args.readings,
    )
    return
  if args.config is None:
    raise ValueError(
      'a program file does not say on which pairs to evaluate it; give '
      '--config=configs/mbv2_int8.py, or another one, for its `eval` block'
    )
  outdir = args.out or model.with_suffix('.evaluation')
  evaluate_program(str(model), args.config, outdir)


if __name__ == '__main__':
  flags.DEFINE_string('model', None, 'Training run folder, or program file.')
  flags.DEFINE_string('step', 'latest', "'latest', 'best' or a number.")
  flags.DEFINE_string('out', None, 'Folder for results and figures.')
  flags.DEFINE_enum(
    'contract',
    CONTRACTS[0],
    CONTRACTS,
    'Whose rounding a run is lowered to; a program file has its own.',
  )
  flags.DEFINE_list(
    'readings', list(READINGS), 'Which of them to run, of a run.'
  )
  config_flags.DEFINE_config_file('config', None, 'Whose `eval` block to use.')
  flags.mark_flags_as_required(['model'])
  command.run(main)
