"""Imported arrays take the place of the model's, or both sides are listed."""

import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.models.weights.assign import (
  assign,
  at_epsilon,
  listed,
  without_steps,
)

VARIABLES = {
  'params': {
    'stem': {'kernel': jnp.zeros((1, 1, 2, 3)), 'bn': {'scale': jnp.ones(3)}}
  },
  'batch_stats': {'stem': {'bn': {'mean': jnp.zeros(3)}}},
  'quant_stats': {'stem': {'range': jnp.ones(())}},
}
VALUES = {
  'stem/kernel': np.arange(6.0).reshape(1, 1, 2, 3),
  'stem/bn/scale': np.full(3, 2.0),
  'stem/bn/mean': np.full(3, 4.0, np.float16),
}


def test_every_array_is_replaced_and_ranges_stay():
  new = assign(VARIABLES, VALUES)
  for path, got in (
    ('stem/kernel', new['params']['stem']['kernel']),
    ('stem/bn/scale', new['params']['stem']['bn']['scale']),
    ('stem/bn/mean', new['batch_stats']['stem']['bn']['mean']),
  ):
    np.testing.assert_array_equal(got, VALUES[path])
    assert got.dtype == jnp.float32
  assert new['quant_stats'] is VARIABLES['quant_stats']
  assert not VARIABLES['params']['stem']['kernel'].any()


def test_both_sides_are_listed():
  values = {
    'stem/kernel': np.zeros((1, 1, 2, 4)),
    'stem/bn/mean': np.zeros(3),
    'stem/bias': np.zeros(5),
  }
  with pytest.raises(ValueError, match=r'^some\.params does not fit') as error:
    assign(VARIABLES, values, 'some.params')
  message = str(error.value)
  assert 'it lacks stem/bn/scale [3];' in message
  assert 'the model lacks stem/bias [5];' in message
  assert (
    'the shapes differ of stem/kernel (file [1, 1, 2, 4], model [1, 1, 2, 3])'
  ) in message
  assert 'mean' not in message


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
  values = {**VALUES, 'stem/bn/scale': np.array([1, value, 1])}
  with pytest.raises(ValueError, match=r'not finite are stem/bn/scale\.'):
    assign(VARIABLES, values)


def test_a_long_list_is_cut_and_counted():
  assert listed([]) == 'none'
  assert listed(['b', 'a']) == 'a, b'
  assert listed(map(chr, range(65, 90))).endswith('K, L and 13 more')


def test_the_gamma_at_another_epsilon_multiplies_by_the_same():
  gamma, var = np.array([0.5, -3, 2]), np.array([0.0, 1e-4, 30])
  new = at_epsilon(gamma, var, 2e-5, 1e-3)
  np.testing.assert_allclose(
    new / np.sqrt(var + 1e-3), gamma / np.sqrt(var + 2e-5), rtol=1e-15
  )
  np.testing.assert_array_equal(at_epsilon(gamma, var, 1e-3, 1e-3), gamma)


def test_learned_steps_stay_and_are_asked_of_no_file():
  steps = {
    'kernel_step': jnp.full(3, 0.5),
    'quantizer': {'step': jnp.full((), 0.25)},
  }
  stem = {**VARIABLES['params']['stem'], **steps}
  new = assign({**VARIABLES, 'params': {'stem': stem}}, VALUES)
  params = new['params']['stem']
  assert params['kernel'].any()
  np.testing.assert_array_equal(params['kernel_step'], np.full(3, 0.5))
  np.testing.assert_array_equal(params['quantizer']['step'], 0.25)
  paths = ['stem/kernel', 'stem/kernel_step', 'stem/quantizer/step', 'stepped']
  left = without_steps(dict.fromkeys(paths))
  assert list(left) == ['stem/kernel', 'stepped']
