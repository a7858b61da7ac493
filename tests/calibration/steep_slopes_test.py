"""Slopes above 1 go into the layers beside a PReLU."""

import jax
import numpy as np
import pytest
from defaults import make_spec
from layer_network import random_variables
from prelu_network import IMAGE, PReLUNetwork

from faceqat.calibration.steep_slopes import without_steep_slopes
from faceqat.quant.spec import FLOAT

STEEP = np.array([3.0, -0.5, 0.25, 1.0, 1.5, -2.0, 0.1, 1.01], np.float32)
PLAIN = PReLUNetwork(make_spec({'prelu': 'operator'}))


@pytest.fixture(scope='module')
def variables():
  found = random_variables(PReLUNetwork(), IMAGE)
  for name in ('stem_prelu', 'depthwise_prelu'):
    found['params'][name]['alpha'] = STEEP
  return found


def test_the_network_computes_the_same_without_steep_slopes(variables):
  images = np.random.default_rng(1).integers(0, 256, (4, *IMAGE), np.uint8)
  turned = without_steep_slopes(PReLUNetwork(), variables, IMAGE[:2])
  for name in ('stem_prelu', 'depthwise_prelu'):
    alpha = np.asarray(turned['params'][name]['alpha'])
    np.testing.assert_allclose(alpha, np.where(STEEP > 1, 1 / STEEP, STEEP))
  run = jax.jit(
    lambda v, w: (
      PLAIN.apply(v, images, FLOAT),
      PReLUNetwork().apply(w, images, FLOAT),
      PReLUNetwork().apply(v, images, FLOAT),
    )
  )
  wanted, same, other = map(np.asarray, run(variables, turned))
  # Sums of 512 float32 terms, each of another rounding: 2^-24 each of the
  # largest, which 2^-14 leaves room for.
  np.testing.assert_allclose(same, wanted, atol=2.0**-14 * np.abs(wanted).max())
  assert np.abs(other - wanted).max() > 0.1 * np.abs(wanted).max()


def test_what_needs_no_change_stays_as_it_is(variables):
  assert without_steep_slopes(PLAIN, variables, IMAGE[:2]) is variables
  gentle = random_variables(PReLUNetwork(), IMAGE)
  assert without_steep_slopes(PReLUNetwork(), gentle, IMAGE[:2]) is gentle


def test_a_prelu_that_two_layers_read_is_named(variables):
  with pytest.raises(ValueError, match=r'stem_prelu has 3 slopes above 1'):
    without_steep_slopes(PReLUNetwork(adds=True), variables, IMAGE[:2])
