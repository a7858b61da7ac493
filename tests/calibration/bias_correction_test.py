"""Corrected biases give the float means, layer after layer."""

import functools

import flax.traverse_util
import jax
import layer_network as table
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import make_spec
from tiny_run import leaves

from faceqat.calibration.bias_correction import correct_biases
from faceqat.quant.batchnorm import FoldedBatchNorm
from faceqat.quant.pooling import MeanPool
from faceqat.quant.prelu import PReLU
from faceqat.quant.spec import FAKE_QUANT, FLOAT, QuantSpec

IMAGE = (8, 8, 3)
POINT = {'kernel_size': (1, 1)}
NORMS = ('stem/bn', 'depthwise/bn', 'point/bn', 'embedding/bn')
# Few enough bits that the means move visibly.
COARSE = make_spec({'weight_bits': 3})


class Network(table.LayerTable):
  quant: QuantSpec = COARSE

  layers = {
    'stem': table.conv('image', activation='relu6'),
    'depthwise': table.depthwise('stem'),
    'prelu': (PReLU, {}, ('depthwise',)),
    'point': table.conv('prelu', features=12, **POINT, activation='relu'),
    'bare': table.conv('point', features=12, **POINT, **table.BIAS),
    'pool': (MeanPool, {}, ('bare',)),
    'embedding': table.dense('pool', 16),
  }


@functools.cache
def networks():
  """Images, the variables, and those with corrected biases."""
  images = np.random.default_rng(0).integers(0, 256, (48, *IMAGE), np.uint8)
  model = Network()
  variables = table.random_variables(model, IMAGE)
  variables = table.calibrate(model, variables, images)
  program = table.lower(model, variables, IMAGE)
  corrected = correct_biases(
    model, variables, program, [images[:32], images[32:]], variables
  )
  return images, program, variables, corrected


@functools.partial(jax.jit, static_argnames='mode')
def collect(variables, mode):
  """The embedding, and the output of every batch norm."""
  embedding, seen = Network().apply(
    variables,
    networks()[0],
    mode,
    capture_intermediates=lambda module, _: isinstance(module, FoldedBatchNorm),
    mutable=['intermediates'],
  )
  seen = flax.traverse_util.flatten_dict(seen['intermediates'], sep='/')
  return embedding, {norm: seen[f'{norm}/__call__'][0] for norm in NORMS}


def means(variables, mode):
  return {
    norm: np.asarray(y, np.float64).mean(tuple(range(y.ndim - 1)))
    for norm, y in collect(variables, mode)[1].items()
  }


def test_every_channel_has_its_float_mean_before_the_activation():
  _, _, variables, corrected = networks()
  expected = means(variables, FLOAT)
  before, after = (means(v, FAKE_QUANT) for v in (variables, corrected))
  for norm in NORMS:
    moved = np.abs(before[norm] - expected[norm]).max()
    left = np.abs(after[norm] - expected[norm]).max()
    # Now and then the bias, summed otherwise, rounds a value the other way;
    # without a correction all would be left.
    assert left < 0.05 * moved, norm


def test_it_is_one_layer_after_another():
  _, _, variables, corrected = networks()
  expected = means(variables, FLOAT)
  before = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  params = dict(before)
  # An order of its own: a pass for each layer.
  for norm in NORMS:
    tree = flax.traverse_util.unflatten_dict(params, sep='/')
    found = means({**variables, 'params': tree}, FAKE_QUANT)
    added = expected[norm] - found[norm]
    params[f'{norm}/bias'] = np.float32(params[f'{norm}/bias'] + added)
  got = flax.traverse_util.flatten_dict(corrected['params'], sep='/')
  for bias in (f'{norm}/bias' for norm in NORMS):
    # As above, but through all layers before.
    atol = 0.06 * np.abs(got[bias] - before[bias]).max()
    np.testing.assert_allclose(got[bias], params[bias], rtol=0, atol=atol)


def test_the_embedding_is_closer_to_the_float_one():
  _, _, variables, corrected = networks()
  expected, before, after = (
    collect(v, mode)[0]
    for v, mode in (
      (variables, FLOAT),
      (variables, FAKE_QUANT),
      (corrected, FAKE_QUANT),
    )
  )
  assert np.mean(1 - cosines(expected, after)) < 0.8 * np.mean(
    1 - cosines(expected, before)
  )


def test_nothing_but_biases_of_batch_norms_changes():
  _, _, variables, corrected = networks()
  old, new = leaves(variables), leaves(corrected)
  changed = {name for name in old if np.any(old[name] != new[name])}
  assert changed == {f'params/{norm}/bias' for norm in NORMS}


def test_no_images_is_an_error():
  _, program, variables, _ = networks()
  with pytest.raises(ValueError, match='one batch of faces'):
    correct_biases(Network(), variables, program, [], variables)
