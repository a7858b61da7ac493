"""Corrected biases: whose means, in which order, and what stays."""

import functools

import flax.linen as nn
import flax.traverse_util
import jax
import layer_network
import numpy as np
import pytest
from backbone_checks import cosines
from defaults import batch_norm, make_spec

from faceqat.calibration.bias_correction import correct_biases
from faceqat.quant.batchnorm import FoldedBatchNorm
from faceqat.quant.layers import PReLU, QuantConv, QuantDense, input_image
from faceqat.quant.pooling import MeanPool
from faceqat.quant.spec import FAKE_QUANT, FLOAT, QuantSpec

IMAGE = (8, 8, 3)
NORMS = ('stem/bn', 'depthwise/bn', 'point/bn', 'embedding/bn')
# Few enough bits that the means move visibly.
COARSE = make_spec({'weight_bits': 3})


class Network(nn.Module):
  quant: QuantSpec = COARSE

  @nn.compact
  def __call__(self, images, mode):
    conv = functools.partial(
      QuantConv, quant=self.quant, norm=batch_norm(momentum=0.0)
    )
    x = input_image(images)
    x = conv(name='stem', features=8, activation='relu6')(x, mode)
    x = conv(name='depthwise', depthwise=True)(x, mode)
    x = PReLU(quant=self.quant, name='prelu')(x, mode)
    x = conv(name='point', features=12, kernel_size=(1, 1), activation='relu')(
      x, mode
    )
    x = QuantConv(
      name='bare',
      features=12,
      kernel_size=(1, 1),
      norm=None,
      use_bias=True,
      quant=self.quant,
    )(x, mode)
    x = MeanPool(quant=self.quant, name='pool')(x, mode)
    return QuantDense(
      features=16,
      norm=batch_norm(momentum=0.0),
      quant=self.quant,
      name='embedding',
    )(x, mode)


@functools.cache
def networks():
  """Images, the variables, and those with corrected biases."""
  images = np.random.default_rng(0).integers(0, 256, (48, *IMAGE), np.uint8)
  model = Network()
  variables = layer_network.random_variables(model, IMAGE)
  variables = layer_network.calibrate(model, variables, images)
  program = layer_network.lower(model, variables, IMAGE)
  corrected = correct_biases(
    model, variables, program, [images[:32], images[32:]]
  )
  return images, program, variables, corrected


@functools.partial(jax.jit, static_argnames='mode')
def collect(variables, mode):
  """What every batch norm gives, and the embedding, on the images."""
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
  params = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  # An order of its own: a pass for each layer.
  for norm in NORMS:
    tree = flax.traverse_util.unflatten_dict(params, sep='/')
    found = means({**variables, 'params': tree}, FAKE_QUANT)
    added = expected[norm] - found[norm]
    params[f'{norm}/bias'] = np.float32(params[f'{norm}/bias'] + added)
  got = flax.traverse_util.flatten_dict(corrected['params'], sep='/')
  for norm in NORMS:
    before = flax.traverse_util.flatten_dict(variables['params'], sep='/')
    size = np.abs(got[f'{norm}/bias'] - before[f'{norm}/bias']).max()
    np.testing.assert_allclose(
      got[f'{norm}/bias'],
      params[f'{norm}/bias'],
      rtol=0,
      # As above, but through all layers before.
      atol=0.06 * size,
    )


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
  changed = {
    jax.tree_util.keystr(path, simple=True, separator='/')
    for (path, old), (_, new) in zip(
      jax.tree_util.tree_leaves_with_path(variables),
      jax.tree_util.tree_leaves_with_path(corrected),
    )
    if np.any(old != new)
  }
  assert changed == {f'params/{norm}/bias' for norm in NORMS}


def test_no_images_is_an_error():
  _, program, variables, _ = networks()
  with pytest.raises(ValueError, match='one batch of faces'):
    correct_biases(Network(), variables, program, [])
