"""Double rounding in fake quantization, beside the integers themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import mobilefacenet_y1_w4a4
from faceqat.calibration.calibrate import observe
from faceqat.calibration.lower import lower
from faceqat.compilation import jit_integers
from faceqat.evaluators import agreement
from faceqat.integer import arithmetic, multipliers
from faceqat.integer.evaluator import make_evaluator
from faceqat.models.build import make_model
from faceqat.models.network import Network
from faceqat.quant import numerics, tensor_scales
from faceqat.quant.spec import CONTRACT_MODES, FLOAT, Mode

F32 = np.float32


@pytest.mark.parametrize('multiplier', [1.7, 0.9, 0.31, 0.25, 0.14, 0.011])
def test_a_total_is_rounded_as_the_kernels_round_it(multiplier):
  total = np.arange(-3000, 3000)
  q31, shift = multipliers.quantize_multiplier(multiplier)
  wanted = arithmetic.multiply_by_quantized_multiplier(total, q31, shift)
  unit = F32(0.02)
  scale = F32(0.02 / multiplier)
  got = numerics.round_steps(F32(total * multiplier), 'double', scale, (unit,))
  # A float32 is not told apart from a tie of the first rounding close by.
  parts = total * multiplier * 2.0 ** max(-shift, 0)
  certain = np.abs(parts % 1 - 0.5) > 1e-3
  assert certain.mean() >= 0.5
  np.testing.assert_array_equal(got[certain], wanted[certain])


def test_each_sign_has_its_unit():
  steps = F32([0.4, -0.4])
  one, fine = F32(0.3), F32(1e-4)
  double = numerics.round_steps
  np.testing.assert_array_equal(double(steps, 'double', 1, (one, fine)), [1, 0])
  np.testing.assert_array_equal(
    double(steps, 'double', 1, (fine, one)), [0, -1]
  )
  np.testing.assert_array_equal(double(steps, 'double'), [0, 0])


def test_scales_are_known_within_a_call_and_of_the_same_array_alone():
  x, y = jnp.ones(2), jnp.ones(2)
  tensor_scales.note(x, 0.5)
  assert tensor_scales.units(x) is None
  with tensor_scales.followed():
    tensor_scales.note(x, 0.5)
    assert tensor_scales.units(x, 2.0) == (1.0,)
    assert tensor_scales.units(y) is None
    assert tensor_scales.carry(x, y) is y
    assert tensor_scales.units(y) == (0.5,)
  assert tensor_scales.units(x) is None


@pytest.fixture(scope='module')
def network():
  """A MobileFaceNet of few blocks with 4 bits, its ranges set."""
  config = mobilefacenet_y1_w4a4.get_config('smoke')
  config.model.depth_multiplier = 0.1
  config.quant.default.learned_steps = False
  model = make_model(config)
  images = images_of(0)
  variables = jax.jit(model.init, static_argnums=2)(
    jax.random.key(0), images, FLOAT
  )
  return Network(model, observe(model, variables, [images]), config, step=0)


def images_of(seed):
  return np.random.default_rng(seed).integers(0, 256, (8, 32, 32, 3), np.uint8)


def test_fake_quantization_foretells_the_integers(network):
  program, images = lower(network), images_of(1)
  integers = jit_integers(make_evaluator(program, taps=True))(images)

  def differing(rounding):
    """Of each tensor of 4 bits, the share of outputs that are not those."""
    mode = Mode(quantize=True, rounding=rounding)
    outputs = agreement.activations(
      network.model, network.variables, images, mode
    )
    shares = {}
    for name, y in outputs.items():
      tensor = program.tensors.get(name)
      if tensor is not None and tensor.bits == 4:
        steps = np.rint(y / F32(tensor.scale)) + tensor.zero_point
        shares[name] = np.mean(steps != np.asarray(integers[name]))
    return shares

  once, twice = differing('half_away'), differing('double')
  assert CONTRACT_MODES['tflite_ref'].rounding == 'double'
  assert len(once) > 8
  print(once, twice)
  # The first is a PReLU, whose input has 8 bits.
  assert once['stem_prelu'] > 0.02
  assert twice['stem_prelu'] < 1e-3
  assert np.mean([*twice.values()]) < np.mean([*once.values()]) / 5


def test_the_gradient_is_that_of_one_rounding():
  def loss(x, rounding, units):
    y = numerics.fake_quant(
      x, -1.0, 1.0, bits=4, rounding=rounding, units=units
    )
    return jnp.sum(y)

  x = jnp.linspace(-1.5, 1.5, 31)
  units = F32(0.03), F32(0.03)
  np.testing.assert_array_equal(
    jax.grad(loss)(x, 'double', units), jax.grad(loss)(x, 'half_up', None)
  )
