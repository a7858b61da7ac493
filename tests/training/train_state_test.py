import numpy as np
import pytest
from tiny_run import leaves, make_batch, make_config, make_start

from faceqat.calibration.calibrate import has_ranges, observe
from faceqat.evaluators.predict import embed, make_predict
from faceqat.losses.objective import make_objective
from faceqat.models.build import make_model
from faceqat.quant.spec import FAKE_QUANT, FLOAT
from faceqat.training.stages import mode_at
from faceqat.training.train_state import validation_scores

CONFIG = make_config()
# Of a float step, a quantized one, and one with frozen batch norms.
FLOAT_STEP, QUANT_STEP, FROZEN_STEP = (
  mode_at(step, CONFIG.quant) for step in (0, 4, 8)
)


def with_dtype(dtype):
  config = make_config()
  config.model.dtype = dtype
  return config


def part(state, name):
  return leaves(getattr(state, name))


def equal(a, b):
  return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize('mode', [FLOAT_STEP, QUANT_STEP])
def test_ten_steps_on_one_batch_lower_its_loss(mode):
  _, state, step = make_start(CONFIG)
  batch, losses = make_batch(), []
  for _ in range(10):
    state, metrics = step(state, batch, mode=mode)
    losses.append(float(metrics['loss']))
  assert np.all(np.isfinite(losses))
  assert losses[-1] < 0.5 * losses[0]
  assert float(metrics['accuracy']) > 0.8
  assert int(state.step) == 10


def test_a_float_step_sets_no_range_and_a_quantized_one_sets_all():
  model, state, step = make_start(CONFIG)
  batch = make_batch()
  state, _ = step(state, batch, mode=FLOAT_STEP)
  assert not has_ranges(state.quant_stats)
  assert not any(np.any(leaf) for leaf in part(state, 'quant_stats').values())
  state, _ = step(state, batch, mode=QUANT_STEP)
  assert has_ranges(state.quant_stats)
  for name, leaf in part(state, 'quant_stats').items():
    if name.endswith('count'):
      assert leaf == 1, name
    if name.endswith('maximum'):
      assert leaf > 0, name
  floats, fakes = (
    np.asarray(make_predict(model, state.variables, mode)(batch['image']))
    for mode in (FLOAT, FAKE_QUANT)
  )
  assert floats.shape == fakes.shape == (8, 16)
  assert floats.dtype == np.float32
  assert not np.array_equal(floats, fakes)


def test_quantizers_that_are_off_leave_the_output_alone():
  coarse = make_config()
  coarse.quant.default.update(weight_bits=2, activation_bits=2)
  model, state, _ = make_start(CONFIG)
  images = make_batch()['image']
  variables = observe(model, state.variables, [images])

  def run(config, mode):
    return np.asarray(
      embed(variables, images, model=make_model(config), mode=mode)
    )

  # Without quantizers the same program, compiled twice.
  assert np.array_equal(run(CONFIG, FLOAT), run(coarse, FLOAT))
  assert not np.array_equal(run(CONFIG, FAKE_QUANT), run(coarse, FAKE_QUANT))


def test_frozen_batch_norms_keep_their_statistics_and_nothing_else_does():
  _, state, step = make_start(CONFIG)
  state, _ = step(state, make_batch(), mode=QUANT_STEP)
  before = [part(state, name) for name in ('batch_stats', 'quant_stats')]
  state, _ = step(state, make_batch(seed=1), mode=QUANT_STEP)
  moved = [part(state, name) for name in ('batch_stats', 'quant_stats')]
  assert not equal(before[0], moved[0])
  params = part(state, 'params')
  state, _ = step(state, make_batch(seed=2), mode=FROZEN_STEP)
  assert equal(moved[0], part(state, 'batch_stats'))
  assert not equal(moved[1], part(state, 'quant_stats'))
  assert not equal(params, part(state, 'params'))


@pytest.mark.parametrize('mode', [FLOAT_STEP, QUANT_STEP])
def test_a_bfloat16_step_is_finite_and_near_the_float32_one(mode):
  metrics = {}
  for dtype in ('float32', 'bfloat16'):
    _, state, step = make_start(with_dtype(dtype))
    state, metrics[dtype] = step(state, make_batch(), mode=mode)
  for name, leaf in leaves(state).items():
    # Only the computation is in bfloat16, never what is kept.
    assert leaf.dtype in (np.float32, np.int32), name
    assert np.all(np.isfinite(leaf)), name
  half, single = metrics['bfloat16'], metrics['float32']
  assert np.isfinite(float(half['grad_norm']))
  # 8 bits of mantissa in activations that batch norms keep near 1: under a
  # hundredth in the cosines, times the loss's scale of 16.
  assert abs(float(half['loss']) - float(single['loss'])) < 0.16


def test_validation_leaves_padding_out():
  model, state, _ = make_start(CONFIG)

  def validate(batch, mask):
    return validation_scores(
      state.params['classifier'],
      state.objective_state,
      embed(state.variables, batch['image'], model=model, mode=FLOAT),
      {**batch, '_mask': np.array(mask)},
      objective=make_objective(CONFIG.loss),
    )

  batch = make_batch()
  padded = {name: value.copy() for name, value in batch.items()}
  padded['image'][5:] = 0
  padded['label'][5:] = 0
  mask = [True] * 5 + [False] * 3
  for name in ('loss', 'accuracy'):
    average = validate(padded, mask)[name]
    assert int(average.count) == 5
    # The same program, in which no row knows of the others.
    assert average.total == validate(batch, mask)[name].total
    assert float(validate(batch, [True] * 8)[name].total) >= float(
      validate(batch, mask)[name].total
    )


def test_the_seed_decides_the_initial_state():
  first, second, other = (
    leaves(make_start(make_config(seed=seed))[1].params) for seed in (0, 0, 1)
  )
  assert equal(first, second)
  assert not equal(first, other)
