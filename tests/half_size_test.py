"""The first steps of a training on images of half the size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from faceqat.half_size import check_half_size, halve
from faceqat.losses.objective import make_objective
from faceqat.models import facenet_nn2, iresnet, mobilefacenet, mobilenet_v2
from faceqat.models.build import make_model
from faceqat.quant.spec import FLOAT, Mode
from faceqat.stages import make_stages
from faceqat.train import make_recipe, train
from faceqat.train_state import create_state, train_step

pytestmark = pytest.mark.usefixtures('quick_compilation')


def test_squares_are_averaged_and_halves_go_up():
  image = np.array([[0, 1, 255, 255], [0, 1, 255, 254]], np.uint8)
  halved = halve(image[None, :, :, None])
  assert halved.dtype == jnp.uint8
  np.testing.assert_array_equal(halved[0, :, :, 0], [[1, 255]])


def test_a_step_sees_what_halving_gives():
  config = tiny_run.make_config()
  rng = np.random.default_rng(0)
  shape = (config.batch_size, 32, 32, 3)
  batch = {
    'image': rng.integers(0, 256, shape, np.uint8),
    'label': np.arange(config.batch_size, dtype=np.int32),
  }
  model = make_model(config)
  objective = make_objective(config.loss)
  recipe, _ = make_recipe(config, model, objective, make_stages(config)[0])
  state = create_state(
    recipe, num_classes=config.batch_size, image_size=config.data.image_size
  )
  step = functools.partial(
    jax.jit(train_step, static_argnames=('recipe', 'mode')),
    state,
    mode=Mode(train=True),
  )
  _, metrics = step(batch, recipe=recipe._replace(half_size=True))
  _, whole = step(batch, recipe=recipe)
  _, wanted = step({**batch, 'image': halve(batch['image'])}, recipe=recipe)
  # Two programs round the sums of a loss of about 5 in orders of their own.
  np.testing.assert_allclose(metrics['loss'], wanted['loss'], rtol=1e-4)
  assert abs(float(whole['loss']) - float(wanted['loss'])) > 1e-2


def test_a_training_sees_half_the_size_for_as_many_steps(tmp_path):
  losses = {}
  for steps in (0, 1, 2):
    config = tiny_run.make_config(total_steps=2, half_size_steps=steps)
    config.quant.enabled = False
    config.quant.calibration_steps = 0
    train(config, str(tmp_path / str(steps)), jax.devices()[:1])
    lines = tiny_run.read_log(tmp_path / str(steps))
    losses[steps] = [line['train/loss'] for line in lines[:2]]
  # The same program on the same batch gives the same bits.
  assert losses[1][0] == losses[2][0] != losses[0][0]
  assert losses[1][1] != losses[2][1]


def make_shapes(model, size):
  images = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
  return jax.eval_shape(
    lambda images: model.init(jax.random.key(0), images, FLOAT), images
  )


@pytest.mark.parametrize('module', [mobilenet_v2, facenet_nn2])
def test_networks_that_pool_take_both_sizes(module):
  model = module.Model(depth_multiplier=0.25)
  check_half_size(model, make_shapes(model, 112), 112)


@pytest.mark.parametrize('module', [mobilefacenet, iresnet])
def test_a_network_of_one_size_is_refused(module):
  model = module.Model(depth_multiplier=0.25)
  shapes = make_shapes(model, 112)
  with pytest.raises(ValueError, match='112 pixels alone; give half_size_st'):
    check_half_size(model, shapes, 112)


def test_an_odd_size_is_refused(tmp_path):
  config = tiny_run.make_config(half_size_steps=1)
  config.data.image_size = 33
  with pytest.raises(ValueError, match='image_size is 33, which has no half'):
    train(config, str(tmp_path), jax.devices()[:1])
