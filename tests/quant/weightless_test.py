"""Layers that have no weights, on arrays."""

import jax
import jax.numpy as jnp
import layer_network as table
import numpy as np
import pytest
from defaults import make_spec

from faceqat.quant import weightless
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode


def computed(name):
  """The float output of a layer, and its inputs."""
  return table.outputs(FLOAT)[name], *table.real_inputs(name)


@pytest.mark.parametrize(
  ('name', 'formula', 'atol'),
  [
    ('add', np.add, 0),
    ('multiply', np.multiply, 0),
    # A gate for each channel of each image.
    ('multiply_gate', lambda x, gate: x * gate[:, None, None], 0),
    ('concat', lambda *sources: np.concatenate(sources, -1), 0),
    ('relu6', lambda x: np.clip(x, 0, 6), 0),
    ('flatten', lambda x: x.reshape(len(x), -1), 0),
    # Float32 of values up to 1.
    ('normalized', lambda x: x / np.linalg.norm(x, axis=1)[:, None], 1e-6),
    ('sigmoid', lambda x: 1 / (1 + np.exp(-np.float64(x))), 1e-6),
  ],
)
def test_layers_compute_what_they_are_named_after(name, formula, atol):
  y, *inputs = computed(name)
  np.testing.assert_allclose(y, formula(*inputs), rtol=0, atol=atol)


def test_prelu_multiplies_what_is_negative():
  y, x = computed('prelu')
  alpha = table.lowered()[1]['params']['prelu']['alpha']
  np.testing.assert_array_equal(y, np.maximum(x, 0) + alpha * np.minimum(x, 0))


def test_inputs_are_such_that_it_matters():
  _, x, gate = computed('multiply_gate')
  assert (x.ndim, gate.ndim) == (4, 2)
  assert computed('relu6')[1].max() > 6


def test_a_quantized_sigmoid_has_the_device_s_steps():
  x = jnp.linspace(-12, 12, 4001)
  plain, fake = (
    np.asarray(weightless.Sigmoid(quant=make_spec()).apply({}, x, mode))
    for mode in (FLOAT, FAKE_QUANT)
  )
  assert np.array_equal(fake * 256, np.rint(fake * 256))
  assert (fake.min(), fake.max()) == (0, 255 / 256)
  # Half a step, or what the range leaves out below 1.
  np.testing.assert_allclose(fake, np.minimum(plain, 255 / 256), atol=1 / 511)


def test_the_gradient_of_a_quantized_sigmoid_is_the_plain_one():
  x = jnp.linspace(-5.5, 5.5, 101)

  def gradient(mode):
    layer = weightless.Sigmoid(quant=make_spec())
    return jax.grad(lambda x: jnp.sum(layer.apply({}, x, mode)))(x)

  plain = gradient(Mode(train=True))
  quantized = gradient(Mode(train=True, quantize=True))
  # Two programs with one formula.
  np.testing.assert_allclose(plain, quantized, rtol=1e-6)
  assert plain.min() > 0
