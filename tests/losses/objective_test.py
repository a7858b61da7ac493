import functools

import jax
import numpy as np
import pytest
from device_counts import on_one_and_eight
from mean_colour import MeanColour
from ml_collections import ConfigDict
from tiny_run import make_config

from configs import losses
from faceqat.losses.margin_objective import ShardedMargin
from faceqat.losses.objective import (
  PEOPLE_TO_SHARD,
  Center,
  Distillation,
  LinearSoftmax,
  Margin,
  Triplet,
  make_objective,
)
from faceqat.quant.spec import Mode
from faceqat.training import sharding
from faceqat.training.plan import make_recipe
from faceqat.training.stages import make_stages
from faceqat.training.train_state import create_state, train_step

# As their blocks have them.
OBJECTIVES = {
  'softmax': Margin('softmax', 16.0, 0.0, 0.0),
  'arcface': Margin('arcface', 16.0, 0.2, 0.0),
  'cosface': Margin('cosface', 16.0, 0.15, 0.0),
  'combined': Margin('combined', 16.0, (1.0, 0.1, 0.1), 0.0),
  'linear_softmax': LinearSoftmax(0.0),
  'center': Center(0.0, weight=0.003, alpha=0.5),
  'triplet': Triplet('batch_all', 0.2, False),
  'distillation': Distillation('', 0.0),
}
BLOCKS = sorted(losses.LOSSES)
SMOOTHED = sorted(
  name for name, make in losses.LOSSES.items() if 'label_smoothing' in make()
)


def _batch(size=8, classes=5, seed=0):
  rng = np.random.default_rng(seed)
  return {
    'image': rng.integers(0, 256, (size, 32, 32, 3), np.uint8),
    'label': rng.integers(0, classes, size).astype(np.int32),
    'target': rng.normal(size=(size, 16)).astype(np.float32),
  }


def _start(name, **changes):
  """An objective of five people, its parameters and state, 8 embeddings."""
  block = losses.LOSSES[name]()
  block.update(changes)
  objective = make_objective(block)
  params = objective.initial(jax.random.key(0), 16, 5)
  state = objective.initial_state(16, 5)
  embeddings = np.random.default_rng(1).normal(size=(8, 16))
  return objective, params, state, embeddings.astype(np.float32)


def test_every_block_makes_its_objective():
  assert {
    name: make_objective(make()) for name, make in losses.LOSSES.items()
  } == OBJECTIVES


@pytest.mark.parametrize('name', BLOCKS)
def test_shapes_are_those_that_the_objective_promises(name):
  objective, params, state, embeddings = _start(name)
  values, scores, after = objective(params, state, embeddings, _batch())
  shape = (8,) if objective.per_example else ()
  assert scores
  for value in (values, *scores.values()):
    assert value.shape == shape
    assert value.dtype == np.float32
  # A `scan` over micro-batches carries it.
  assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
    lambda x: (x.shape, x.dtype), state
  )


@pytest.mark.parametrize('name', SMOOTHED)
def test_smoothing_changes_the_training_and_not_the_validation(name):
  plain, params, state, embeddings = _start(name)
  smooth, *_ = _start(name, label_smoothing=0.25)
  assert smooth != plain
  assert smooth.validation == plain.validation
  run = functools.partial(
    _losses, params=params, state=state, embeddings=embeddings
  )
  assert not np.allclose(run(smooth), run(plain))
  np.testing.assert_array_equal(run(smooth.validation), run(plain.validation))


def _losses(objective, params, state, embeddings):
  return np.asarray(objective(params, state, embeddings, _batch())[0])


@pytest.mark.parametrize('name', ['arcface', 'combined', 'cosface'])
def test_a_margin_objective_validates_without_its_margin(name):
  objective, params, state, embeddings = _start(name)
  assert params['weights'].shape == (16, 5)
  with_margin, hits, _ = objective(params, state, embeddings, _batch())
  without, same_hits, _ = objective.validation(
    params, state, embeddings, _batch()
  )
  assert np.all(np.asarray(with_margin) > np.asarray(without))
  np.testing.assert_array_equal(hits['accuracy'], same_hits['accuracy'])


def test_a_center_loss_is_a_linear_softmax_and_a_share_of_the_distance():
  objective, params, state, embeddings = _start('center', weight=0.5)
  centers = np.random.default_rng(2).normal(size=(5, 16)).astype(np.float32)
  batch = _batch()
  total, scores, after = objective(
    params, {'centers': centers}, embeddings, batch
  )
  softmax, softmax_scores, _ = LinearSoftmax(0.0)(params, {}, embeddings, batch)
  squared = np.sum((embeddings - centers[batch['label']]) ** 2, axis=1)
  # Sums of sixteen float32 squares.
  np.testing.assert_allclose(total, softmax + 0.25 * squared, rtol=1e-5)
  np.testing.assert_allclose(
    scores['center_distance'], np.sqrt(squared), rtol=1e-5
  )
  np.testing.assert_array_equal(scores['accuracy'], softmax_scores['accuracy'])
  seen = np.isin(np.arange(5), batch['label'])
  moved = np.any(np.asarray(after['centers']) != centers, axis=1)
  np.testing.assert_array_equal(moved, seen)
  assert not np.any(state['centers'])


@pytest.mark.parametrize('name', ['center', 'triplet'])
def test_a_network_learns_alike_on_one_device_and_on_eight(name):
  config = make_config()
  # Plain gradient descent: Adam makes whole steps of rounded zeros.
  config.optimizer.update(
    name='sgd', learning_rate=0.05, warmup_steps=0, schedule='constant'
  )
  (stage,) = make_stages(config)
  recipe, _ = make_recipe(config, MeanColour(), _start(name)[0], stage)
  step = jax.jit(functools.partial(train_step, recipe=recipe, mode=Mode(True)))

  def learn(batch, mesh):
    state = create_state(recipe, num_classes=5, image_size=32)
    state, metrics = step(sharding.replicate(state, mesh), batch)
    result = state.params, state.objective_state, metrics
    for _ in range(4):
      state, later = step(state, batch)
    assert later['loss'] < metrics['loss']
    return result

  one, eight = on_one_and_eight(learn, _batch(16))
  # The order of sums in one step of a batch norm: after more steps, last bits
  # would have grown.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    eight,
    one,
  )


# The name of a loss, what its block has otherwise, and the message.
WRONG = [
  ('triplets', {}, r"name is 'triplets'; choose one of softmax, arcface, cos"),
  ('arcface', {'margin': 28.6}, r'margin is 28\.6; .* an angle in radians'),
  ('triplet', {'scale': 16.0}, r"scale is no field of the loss 'triplet'; it "),
  ('distillation', {'scale': 1.0}, r"scale is no field .*'; it has feat"),
  ('distillation', {'features': -1.0}, r'features is -1\.0; it is 0 or more'),
  ('combined', {'m3': ...}, "m3 is missing from the fields of .* 'combined'"),
  ('combined', {'m1': 0.0}, r'm1 is 0\.0; it is a factor'),
  ('linear_softmax', {'label_smoothing': 1.0}, r'.*ing is 1\.0; .* \[0, 1\)'),
  (
    'arcface',
    {'label_smoothing': -0.1},
    r'.*ing is -0\.1; it lies in \[0, 1\)',
  ),
  ('center', {'weight': -1.0}, r'weight is -1\.0; it is 0 or more'),
  ('center', {'alpha': 0.0}, r'alpha is 0\.0; it lies in \(0, 1\]'),
  ('triplet', {'mining': 'all'}, "mining is 'all'; choose one of batch_all, b"),
  ('triplet', {'margin': 0.0}, r'margin is 0\.0; it is above 0'),
  (
    'arcface',
    {'sample_rate': 0.0, 'sharded': True},
    r'sample_rate is 0\.0; it',
  ),
  (
    'arcface',
    {'sample_rate': 0.1, 'sharded': False},
    r'sample_rate is 0\.1, which needs .*True',
  ),
  (
    'cosface',
    {'dtype': 'bfloat16', 'sharded': False},
    r"dtype is 'bfloat16', which needs .*True",
  ),
  (
    'arcface',
    {'sample_rate': 1.5, 'sharded': True},
    r'sample_rate is 1\.5; it lies in',
  ),
  ('arcface', {'dtype': 'float16'}, "dtype is 'float16'; choose one of float3"),
  *(
    (name, {'sharded': True}, rf"sharded is True, but the loss '{name}' has no")
    for name in ('linear_softmax', 'center', 'triplet', 'distillation')
  ),
]


@pytest.mark.parametrize(('name', 'changes', 'message'), WRONG)
def test_a_wrong_block_is_refused_and_the_field_named(name, changes, message):
  block = {**losses.LOSSES.get(name, dict)(), 'name': name, **changes}
  block = {key: value for key, value in block.items() if value is not ...}
  with pytest.raises(ValueError, match=rf'^loss\.{message}'):
    make_objective(ConfigDict(block))


@pytest.mark.parametrize(
  ('changes', 'people', 'is_sharded'),
  [
    ({}, PEOPLE_TO_SHARD - 1, False),
    ({}, PEOPLE_TO_SHARD, True),
    ({'sharded': False}, PEOPLE_TO_SHARD, False),
    ({'sharded': True}, 2, True),
    ({'sample_rate': 0.1}, 2, True),
    ({'dtype': 'bfloat16'}, 2, True),
  ],
)
def test_a_margin_loss_of_many_people_is_in_parts(changes, people, is_sharded):
  block = losses.arcface()
  block.update(changes)
  objective = make_objective(block, people)
  assert isinstance(objective, ShardedMargin if is_sharded else Margin)
  assert objective.samples == ('sample_rate' in changes)


def test_the_name_alone_takes_the_margin_away():
  block = losses.arcface()
  block.name = 'softmax'
  _, params, state, embeddings = _start('softmax')
  np.testing.assert_array_equal(
    _losses(make_objective(block), params, state, embeddings),
    _losses(OBJECTIVES['softmax'], params, state, embeddings),
  )


def test_distillation_is_the_squared_distance_of_unit_vectors():
  rng = np.random.default_rng(0)
  embeddings, targets = rng.normal(size=(2, 6, 8))
  unit, target_unit = (
    x / np.linalg.norm(x, axis=1, keepdims=True) for x in (embeddings, targets)
  )
  losses, scores, _ = Distillation('', 0.0)(
    {}, {}, embeddings, {'target': targets}
  )
  # Both round sums of eight float32 products.
  np.testing.assert_allclose(
    losses, np.sum((unit - target_unit) ** 2, 1), rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(
    scores['cosine'], np.sum(unit * target_unit, 1), rtol=1e-5, atol=1e-6
  )


def test_the_gradient_of_distillation_is_finite_where_an_embedding_is_zero():
  targets = np.ones((2, 4), np.float32)
  grads = jax.grad(
    lambda x: Distillation('', 0.0)({}, {}, x, {'target': targets})[0].sum()
  )(np.zeros((2, 4), np.float32))
  assert np.all(np.isfinite(grads))


def test_features_add_the_relative_error_of_block_outputs():
  rng = np.random.default_rng(0)
  embeddings, targets = rng.normal(size=(2, 3, 8))
  ours, theirs = rng.normal(size=(2, 2, 3, 4, 4, 5))
  batch = {
    'target': targets,
    'features': dict(zip(('block_0', 'block_1'), ours, strict=True)),
    'target_features': dict(zip(('block_0', 'block_1'), theirs, strict=True)),
  }
  objective = Distillation('', 2.0)
  alone, _, _ = objective.validation({}, {}, embeddings, batch)
  losses, scores, _ = objective({}, {}, embeddings, batch)
  axes = (2, 3, 4)
  errors = np.mean(
    np.sum((ours - theirs) ** 2, axes) / np.sum(theirs**2, axes), axis=0
  )
  # Sums of 80 float32 squares.
  np.testing.assert_allclose(scores['feature_error'], errors, rtol=1e-5)
  np.testing.assert_allclose(losses, alone + 2 * errors, rtol=1e-5)
