import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from faceqat.losses.regularization import Regularization, make_regularization


def _params():
  rng = np.random.default_rng(0)
  return {
    'backbone': {
      'stem': {'kernel': rng.normal(size=(3, 3, 2)), 'bias': np.ones(2)},
      'norm': {'scale': np.ones(2), 'bias': np.ones(2)},
    },
    'classifier': {'weights': rng.normal(size=(4, 5)), 'bias': np.ones(5)},
  }


def test_kernels_and_class_weights_are_penalised_and_nothing_else():
  params = jax.tree.map(jnp.float32, _params())
  kernel = params['backbone']['stem']['kernel']
  weights = params['classifier']['weights']
  regularization = Regularization(weight=0.25, decay=0.5)
  penalty, grads = jax.value_and_grad(regularization.penalty)(params, 0.5)
  squares = np.sum(np.square(kernel)) + np.sum(np.square(weights))
  # Sums of 38 float32 squares.
  np.testing.assert_allclose(penalty, 0.5 * 0.25 * squares, rtol=1e-5)
  # Powers of two: 2 * 0.5 * 0.25 is exact.
  np.testing.assert_array_equal(
    grads['backbone']['stem']['kernel'], 0.25 * kernel
  )
  np.testing.assert_array_equal(grads['classifier']['weights'], 0.25 * weights)
  for gradient in (
    *grads['backbone']['norm'].values(),
    grads['classifier']['bias'],
  ):
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
  ('loss', 'decay', 'coefficient'),
  [
    (0.999, 0.8, 0.6),
    (1.0, 0.8, 0.75),
    (1.001, 0.8, 0.75),
    (np.nan, 0.8, 0.75),
    (0.0, 1.0, 0.75),
  ],
)
def test_the_coefficient_decays_exactly_where_the_penalty_is_larger(
  loss, decay, coefficient
):
  regularization = Regularization(weight=0.25, decay=decay)
  after = regularization.next(
    jnp.float32(0.75), jnp.float32(loss), jnp.float32(1.0)
  )
  assert after.dtype == jnp.float32
  # 0.75 * 0.8 in float32.
  np.testing.assert_allclose(after, coefficient, rtol=1e-6)


def test_it_is_made_of_its_block():
  block = ConfigDict({'weight': 0.001, 'decay': 0.9})
  assert make_regularization(block) == Regularization(0.001, 0.9)


@pytest.mark.parametrize(
  ('block', 'message'),
  [
    ({'weight': -1.0, 'decay': 1.0}, r'regularization\.weight is -1\.0; .*0'),
    ({'weight': 1.0, 'decay': 0.0}, r'regularization\.decay is 0\.0; .*\(0, 1'),
    ({'weight': 1.0, 'decay': 1.5}, r'regularization\.decay is 1\.5; .*\(0, 1'),
  ],
)
def test_a_value_out_of_range_is_named(block, message):
  with pytest.raises(ValueError, match=message):
    make_regularization(ConfigDict(block))
