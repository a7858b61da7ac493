"""Layers that have no weights, on arrays."""

import jax
import jax.numpy as jnp
import layer_network as table
import numpy as np
import pytest
from defaults import make_spec

from faceqat.quant import weightless
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode

NAMES = (
  'prelu',
  'add',
  'multiply',
  'multiply_gate',
  'concat',
  'relu6',
  'sigmoid',
  'flatten',
  'normalized',
)


@pytest.fixture(scope='module')
def computed():
  """What each layer gives in float for the integers' own inputs."""
  variables = table.lowered()[1]

  def compute(variables, inputs):
    return {
      name: table.make_layer(name).apply(
        {key: tree.get(name, {}) for key, tree in variables.items()},
        *table.arguments(name, inputs[name]),
        FLOAT,
      )
      for name in NAMES
    }

  inputs = {name: table.real_inputs(name) for name in NAMES}
  outputs = jax.jit(compute)(variables, inputs)
  return {name: (np.asarray(y), *inputs[name]) for name, y in outputs.items()}


def test_layers_compute_what_they_are_named_after(computed):
  y, x = computed['prelu']
  alpha = table.lowered()[1]['params']['prelu']['alpha']
  np.testing.assert_array_equal(y, np.maximum(x, 0) + alpha * np.minimum(x, 0))
  y, a, b = computed['add']
  np.testing.assert_array_equal(y, a + b)
  y, a, b = computed['multiply']
  np.testing.assert_array_equal(y, a * b)
  y, *sources = computed['concat']
  np.testing.assert_array_equal(y, np.concatenate(sources, -1))
  y, x = computed['relu6']
  assert x.max() > 6
  np.testing.assert_array_equal(y, np.clip(x, 0, 6))
  y, x = computed['flatten']
  np.testing.assert_array_equal(y, x.reshape(len(x), -1))
  y, x = computed['normalized']
  wanted = x / np.linalg.norm(x, axis=1, keepdims=True)
  np.testing.assert_allclose(y, wanted, atol=1e-6)
  y, x = computed['sigmoid']
  # Float32 of a value near 1.
  np.testing.assert_allclose(y, 1 / (1 + np.exp(-np.float64(x))), atol=1e-6)


def test_a_gate_multiplies_each_channel_of_its_own_image(computed):
  y, x, gate = computed['multiply_gate']
  assert (x.ndim, gate.ndim) == (4, 2)
  np.testing.assert_array_equal(y, np.einsum('bhwc,bc->bhwc', x, gate))


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
