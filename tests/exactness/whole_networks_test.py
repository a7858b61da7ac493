"""Whole networks: every integer of a runtime is that of the evaluator.

Faces of LFW where they are at hand, else drawn ones. A nightly run takes the
networks in full, and more faces.
"""

import dataclasses
import functools
import importlib.metadata

import backbone_checks
import jax
import layer_network
import numpy as np
import pytest
import real_data
from cases import COUNT_FACTOR
from defaults import batch_norm, make_network

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.evaluators import exactness
from faceqat.export import litert, onnx_integer, onnx_runtime, tflite
from faceqat.faces.images import decode_image
from faceqat.integer.evaluator import make_evaluator

LFW = real_data.path('data/lfw/images')
NIGHTLY = COUNT_FACTOR > 1
IMAGE_SIZE = 112
COUNT = 200 if NIGHTLY else 8
# Taps are compared on these; the embedding on all.
TAPPED = 2
BATCH = 8
CALIBRATION = 8

MODELS = {
  'MobileNetV2': make_network(
    'mobilenet_v2',
    embedding_size=128,
    width=1.0 if NIGHTLY else 0.35,
    norm=batch_norm(momentum=0.0),
  ),
  'MobileFaceNet': make_network('mobilefacenet', norm=batch_norm(momentum=0.0)),
}


def run_in_litert(program, *, taps=False):
  content = tflite.to_bytes(program, taps=taps)
  return litert.make_runner(content, program.contract, threads=2)


def run_in_onnx_runtime(program, *, taps=False):
  content = onnx_integer.to_model(program, taps=taps).SerializeToString()
  return onnx_runtime.make_runner(content, threads=2)


# Name: (contract, package, function from a program to a runner).
RUNTIMES = {
  'LiteRT reference kernels': ('tflite_ref', 'ai-edge-litert', run_in_litert),
  'LiteRT with XNNPACK': ('xnnpack', 'ai-edge-litert', run_in_litert),
  'ONNX Runtime': ('tflite_ref', 'onnxruntime', run_in_onnx_runtime),
}


@functools.cache
def faces() -> np.ndarray:
  """Images [COUNT, H, W, 3] uint8, of as many people as there are."""
  if LFW.is_dir():
    people = sorted(LFW.iterdir())
    chosen = np.linspace(0, len(people) - 1, COUNT).astype(int)
    paths = [sorted(people[index].iterdir())[0] for index in chosen]
    return np.stack(
      [decode_image(path.read_bytes(), path.name, IMAGE_SIZE) for path in paths]
    )
  drawn = SyntheticFaces(COUNT, 1, IMAGE_SIZE)
  return np.stack([drawn[index]['image'] for index in range(COUNT)])


@functools.cache
def lowered(name: str):
  """(images, program) of a network whose ranges are those of some images."""
  model, images = MODELS[name], faces()
  shape = images.shape[1:]
  variables = layer_network.random_variables(
    model, shape, **backbone_checks.CALM
  )
  variables = layer_network.calibrate(model, variables, images[:CALIBRATION])
  return images, layer_network.lower(model, variables, shape)


@functools.cache
def evaluated(name: str, contract: str):
  """(images, program, tensors of a few images, all embeddings): ours."""
  if name in MODELS:
    images, program = lowered(name)
  else:
    _, _, images, program = layer_network.lowered()
    images = images[:COUNT]
  program = dataclasses.replace(program, contract=contract)
  evaluate = make_evaluator(program, taps=True)
  batches = [
    jax.device_get(evaluate(images[start : start + BATCH]))
    for start in range(0, len(images), BATCH)
  ]
  tapped = {key: value[:TAPPED] for key, value in batches[0].items()}
  embeddings = np.concatenate([batch[program.output] for batch in batches])
  return images, program, tapped, embeddings


@pytest.mark.parametrize('runtime', RUNTIMES)
@pytest.mark.parametrize('name', [*MODELS, 'every layer'])
def test_no_output_differs(name, runtime):
  contract, package, make = RUNTIMES[runtime]
  images, program, tapped, embeddings = evaluated(name, contract)
  title = (
    f'{name} in {runtime} ({package} {importlib.metadata.version(package)})'
  )
  theirs = make(program, taps=True)(images[:TAPPED])
  difference = exactness.first_difference(program, tapped, theirs)
  assert difference is None, f'{title}: {difference}'
  # The file that is shipped has no taps, and may be optimised further.
  run = make(program)
  got = np.concatenate(
    [
      next(iter(run(images[start : start + BATCH]).values()))
      for start in range(0, len(images), BATCH)
    ]
  )
  differing = exactness.compare_integers(embeddings, got).differing
  assert differing == 0, f'{title}: {differing} of {got.size}'
  # A network that answers the same to everything would prove nothing.
  assert len(np.unique(embeddings, axis=0)) == len(images)


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_no_output_differs_where_weights_are_zero(runtime):
  contract, _, make = RUNTIMES[runtime]
  network, variables, images, _ = layer_network.lowered()
  variables = jax.tree.map(np.array, variables)
  params = variables['params']
  # A whole layer, whose scale then follows its bias, and two single channels.
  params['pointwise']['kernel'][:] = 0
  params['same']['bn']['scale'][3] = 0
  params['depthwise']['kernel'][..., 1] = 0
  program = dataclasses.replace(
    layer_network.lower(network, variables, layer_network.IMAGE),
    contract=contract,
  )
  layer = next(op for op in program.operators if op.name == 'pointwise')
  # 24 bits, and the rounding of a float32 of so many.
  assert abs(np.abs(layer.bias).max() - 2**24) <= 1
  values = jax.tree.map(
    np.asarray, make_evaluator(program, taps=True)(images[:TAPPED])
  )
  theirs = make(program, taps=True)(images[:TAPPED])
  difference = exactness.first_difference(program, values, theirs)
  assert difference is None, difference


def test_the_contracts_differ():
  """Otherwise the tests above could not tell one from the other."""
  *_, reference = evaluated('MobileNetV2', 'tflite_ref')
  *_, xnnpack = evaluated('MobileNetV2', 'xnnpack')
  assert (reference != xnnpack).any()
