"""The folder of a run with everything that a report shows, made in a moment."""

import json

import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import PRECISIONS, scores, verification
from faceqat.evaluators.agreement import Agreement, LayerAgreement
from faceqat.integer import operators as ops
from faceqat.integer import program as integer_program
from faceqat.integer import tracing
from faceqat.report import hardest

CONFIG = {
  'model': {'name': 'tiny', 'embedding_size': 16},
  'loss': {'name': 'arcface', 'margin': 0.3},
  'data': {'path': '', 'image_size': 16},
  'quant': {'enabled': True, 'start_step': 30, 'overrides': {}},
  'pretrained': '',
  'total_steps': 60,
}


def make_pairs(num_pairs=200, name='greys'):
  """Image i is one flat grey: a pair is known by its two colours."""
  images = np.repeat(np.arange(2 * num_pairs) % 256, 16 * 16 * 3)
  positions = np.arange(num_pairs)
  first = positions // 2
  same = positions % 2 == 0
  return PairSet(
    name=name,
    images=images.astype(np.uint8).reshape(-1, 16, 16, 3),
    first=2 * positions,
    second=2 * positions + 1,
    same=same,
    fold=positions % 10,
    people=np.stack([first, first + ~same], axis=1),
  )


def make_agreement(names=('stem', 'block/add', 'embedding')):
  layers = tuple(
    LayerAgreement(
      name=name,
      scale=0.1,
      bits=8,
      range=(-12.8, 12.7),
      float_range=(-3.0, 20.0 + i),
      clipped=0.01,
      float_to_fake=40.0 - i,
      float_to_integer=39.0 - i,
      lost=float(i),
      fake_to_integer_steps=1,
      fake_to_integer_differing=0.02,
    )
    for i, name in enumerate(names)
  )
  return Agreement(layers, np.linspace(0.98, 1, 5))


def write_config(folder, config):
  with ocp.CheckpointManager(
    folder / 'checkpoints',
    item_handlers={'config': ocp.JsonCheckpointHandler()},
  ) as manager:
    manager.save(60, args=ocp.args.Composite(config=ocp.args.JsonSave(config)))


def write_scores(folder, pair_set, seed=0):
  """Scores, results and the hardest pairs of three precisions."""
  rng = np.random.default_rng(seed)
  true = rng.normal(0.6 * pair_set.same, 0.3)
  cosines = {
    name: np.clip(true + rng.normal(0, 0.01, len(true)), -1, 1)
    for name in PRECISIONS
  }
  results = {
    name: {
      **dict(verification.summarize(values, pair_set.same, pair_set.fold)),
      'rank1': 0.5,
      'bytes': 4_000_000 if name != 'integer' else 1_000_000,
    }
    for name, values in cosines.items()
  }
  (folder / 'results.json').write_text(json.dumps(results))
  scores.save(scores.of_pairs(pair_set, cosines), folder)
  hardest.save(pair_set, cosines['integer'], 'integer', folder)


def make_run(folder, seed=0, config=CONFIG, pair_set=None):
  """Writes everything; the folder must not exist."""
  folder.mkdir(parents=True)
  rng = np.random.default_rng(seed)
  write_scores(folder, pair_set or make_pairs(), seed)
  write_config(folder, config)
  lines = [
    {
      'step': step,
      'time': 1.7e9 + step,
      'train/loss': 5 - step / 30 + rng.normal(0, 0.1),
      'train/images_per_second': 100 + step,
      'train/learning_rate': 0.01,
      **({'validation/loss': 4 - step / 60} if step % 20 == 0 else {}),
    }
    for step in range(1, 61)
  ]
  text = ''.join(f'{json.dumps(line)}\n' for line in lines)
  (folder / 'metrics.jsonl').write_text(text)
  (folder / 'agreement.json').write_text(json.dumps(make_agreement().to_json()))
  rates = np.linspace(0.02, 1, 50)
  arrays = {'cmc': np.linspace(0.5, 1, 20), 'fpir': rates, 'tpir': rates**0.3}
  safetensors.numpy.save_file(
    {f'{k}/{r}': v for k, v in arrays.items() for r in PRECISIONS},
    folder / 'identification.safetensors',
  )
  safetensors.numpy.save_file(
    {
      'params/stem/kernel': np.zeros([3, 3, 3, 8], np.float32),
      'params/stem/step': np.zeros([1], np.float32),
      'batch_stats/stem/mean': np.zeros([8], np.float32),
    },
    folder / 'float.safetensors',
  )
  program = tracing.trace(
    lambda image: tracing.apply(ops.Reshape, image, name='features'),
    image_shape=(4, 4, 3),
  )
  integer_program.save(program, folder / 'program.safetensors')
  (folder / 'export').mkdir()
  row = {'bytes': 9, 'outputs': 640, 'largest': 0, 'milliseconds': 1.25}
  exactness = {
    'tflite': {**row, 'contract': 'tflite_ref', 'differing': 0},
    'onnx_qdq': {**row, 'contract': None, 'differing': 17},
  }
  (folder / 'export' / 'exactness.json').write_text(json.dumps(exactness))
  return folder
