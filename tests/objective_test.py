import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from faceqat.losses import distillation
from faceqat.losses.objective import Distillation, Margin, make_objective


def test_an_objective_is_made_of_its_block():
  block = ConfigDict({'name': 'arcface', 'scale': 16.0, 'margin': 0.2})
  assert make_objective(block) == Margin('arcface', 16.0, 0.2)
  assert make_objective(ConfigDict({'name': 'distillation'})) == Distillation()


def test_an_unknown_name_and_a_margin_out_of_range_are_refused():
  block = ConfigDict({'name': 'triplet', 'scale': 16.0, 'margin': 0.2})
  with pytest.raises(
    ValueError, match=r"'triplet'; accepted: \['arcface', .*'distillation'"
  ):
    make_objective(block)
  block.update(name='arcface', margin=28.6)
  with pytest.raises(ValueError, match='margin is an angle in radians'):
    make_objective(block)


def test_a_margin_objective_validates_without_its_margin():
  rng = np.random.default_rng(0)
  objective = Margin('arcface', 16.0, 0.5)
  params = objective.initial(jax.random.key(0), 8, 5)
  assert params['weights'].shape == (8, 5)
  embeddings = rng.normal(size=(4, 8)).astype(np.float32)
  batch = {'label': np.arange(4)}
  with_margin, hits = objective(params, embeddings, batch)
  without, same_hits = objective.validation(params, embeddings, batch)
  assert np.all(np.asarray(with_margin) > np.asarray(without))
  np.testing.assert_array_equal(hits['accuracy'], same_hits['accuracy'])


def test_distillation_is_the_squared_distance_of_unit_vectors():
  rng = np.random.default_rng(0)
  embeddings, targets = rng.normal(size=(2, 6, 8))
  unit, target_unit = (
    x / np.linalg.norm(x, axis=1, keepdims=True) for x in (embeddings, targets)
  )
  losses, scores = Distillation()({}, embeddings, {'target': targets})
  # Both round sums of eight float32 products.
  np.testing.assert_allclose(
    losses, np.sum((unit - target_unit) ** 2, 1), rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(
    scores['cosine'], np.sum(unit * target_unit, 1), rtol=1e-5, atol=1e-6
  )


def test_the_length_of_an_embedding_plays_no_part_in_distillation():
  targets = np.random.default_rng(0).normal(size=(3, 8))
  losses, cosines = distillation.loss(7 * targets, targets)
  np.testing.assert_allclose(losses, 0, atol=1e-5)
  np.testing.assert_allclose(cosines, 1, atol=1e-5)


def test_the_gradient_of_distillation_is_finite_where_an_embedding_is_zero():
  targets = np.ones((2, 4), np.float32)
  grads = jax.grad(lambda x: distillation.loss(x, targets)[0].sum())(
    np.zeros((2, 4), np.float32)
  )
  assert np.all(np.isfinite(grads))
