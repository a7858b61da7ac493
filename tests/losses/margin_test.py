import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.losses import margin

SCALE = 64.0
MARGIN = 0.5
# Of the paper's CM2, and a SphereFace whose angle goes around twice.
COMBINED = (0.9, 0.4, 0.15)
SPHERE = (4.0, 0.0, 0.0)
MARGINS = {
  'arcface': MARGIN,
  'combined': COMBINED,
  'cosface': MARGIN,
  'softmax': MARGIN,
}
NAMES = sorted(margin.LOSSES)


@functools.partial(jax.jit, static_argnums=0)
def _loss(name, embeddings, weights, labels):
  """The losses, and the hits of the margin-free logits."""
  return margin.margin_loss(
    name,
    embeddings,
    weights,
    labels,
    scale=SCALE,
    margin=MARGINS.get(name),
    label_smoothing=0.0,
  )


def _example(batch=16, width=8, classes=5, seed=0):
  rng = np.random.default_rng(seed)
  embeddings = rng.normal(size=(batch, width)).astype(np.float32)
  weights = rng.normal(size=(width, classes)).astype(np.float32)
  labels = rng.integers(classes, size=batch).astype(np.int32)
  return embeddings, weights, labels


def _cosines_and_labels(classes=5):
  embeddings, weights, labels = _example(classes=classes)
  return margin.cosine_logits(embeddings, weights), labels


def _target_cosine(name, cosine):
  """The cosine at the label, one number at a time in float64."""
  if name == 'softmax':
    return cosine
  if name == 'cosface':
    return cosine - MARGIN
  theta = np.arccos(np.clip(cosine, -1, 1))
  if name == 'combined':
    m1, m2, m3 = COMBINED
    return _monotone_cosine(m1 * theta + m2) - m3
  if theta + MARGIN < np.pi:
    return np.cos(theta + MARGIN)
  return np.cos(theta) - MARGIN * np.sin(MARGIN)


def _monotone_cosine(angle):
  """The cosine up to pi, and each further fall by 2 joined to the last."""
  fallen = 0
  while angle > np.pi:
    angle, fallen = angle - np.pi, fallen + 2
  return np.cos(angle) - fallen


@functools.partial(jax.jit, static_argnums=(0, 3))
def _logits(name, cosine, labels, margins=None):
  return margin.margin_logits(
    name, cosine, labels, scale=SCALE, margin=margins or MARGINS[name]
  )


@functools.partial(jax.jit, static_argnums=0)
def _gradients(name, embeddings, weights, labels):
  """The mean loss, and its gradients by embeddings and weights."""

  def mean_loss(embeddings, weights):
    return _loss(name, embeddings, weights, labels)[0].mean()

  return jax.value_and_grad(mean_loss, (0, 1))(embeddings, weights)


def _reference_loss(name, embeddings, weights, labels):
  losses = []
  for embedding, label in zip(embeddings.astype(np.float64), labels):
    cosines = [
      embedding @ w / np.linalg.norm(embedding) / np.linalg.norm(w)
      for w in weights.astype(np.float64).T
    ]
    cosines[label] = _target_cosine(name, cosines[label])
    logits = SCALE * np.array(cosines)
    top = logits.max()
    losses.append(top + np.log(np.exp(logits - top).sum()) - logits[label])
  return np.array(losses)


@pytest.mark.parametrize('name', NAMES)
def test_loss_equals_a_float64_formula(name):
  embeddings, weights, labels = _example()
  losses, _ = _loss(name, embeddings, weights, labels)
  expected = _reference_loss(name, embeddings, weights, labels)
  assert losses.dtype == jnp.float32
  # A cosine is good to a few 2^-24, and the scale multiplies that by 64.
  np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=5e-5)


def test_arcface_target_equals_the_angle_formula_over_all_angles():
  theta = np.linspace(0, np.pi, 1001)
  cosine = np.cos(theta).astype(np.float32)
  logits = _logits('arcface', cosine[:, None], np.zeros(1001, np.int32))
  expected = [SCALE * _target_cosine('arcface', c) for c in np.float64(cosine)]
  # arccos loses half the digits of float32 at +-1; the formula without it does
  # not, so what remains is the rounding of a logit of 64 to 24 bits.
  np.testing.assert_allclose(logits[:, 0], expected, atol=3e-5)
  assert np.all(np.diff(logits[:, 0]) < 0), 'the target falls with the angle'


@pytest.mark.parametrize('margins', [COMBINED, SPHERE, (1.35, 0.0, 0.0)])
def test_combined_target_falls_with_the_angle_as_the_formula_does(margins):
  m1, m2, m3 = margins
  theta = np.linspace(0, np.pi, 1001)
  cosine = np.cos(theta).astype(np.float32)
  added = np.asarray(margin.combined(cosine, margins))
  # The angle of the rounded cosine.
  theta = np.arccos(np.float64(cosine))
  expected = [_monotone_cosine(m1 * angle + m2) - m3 for angle in theta]
  # An angle is good to two last bits, 5e-7, and four times it to 2e-6; its sum
  # with m2 and a value of -7 are rounded by 5e-7 each.
  np.testing.assert_allclose(cosine + added, expected, atol=5e-6)
  # Steps near 0 and pi are smaller than the rounding.
  assert np.all(np.diff(cosine + added) < 5e-6)
  assert np.all(np.diff(cosine + added)[100:-100] < 0)


def test_the_combined_margin_holds_its_parts():
  cosine, labels = _cosines_and_labels()
  at_label = np.take_along_axis(np.asarray(cosine), labels[:, None], 1)
  before_pi = np.arccos(at_label[:, 0]) + MARGIN < np.pi
  assert np.any(before_pi)
  for name, margins, rows in (
    ('softmax', (1.0, 0.0, 0.0), slice(None)),
    ('cosface', (1.0, 0.0, MARGIN), slice(None)),
    ('arcface', (1.0, MARGIN, 0.0), before_pi),
  ):
    got = _logits('combined', cosine, labels, margins)
    wanted = _logits(name, cosine, labels)
    # Two roundings of an angle by 5e-7, and of its cosine, times the scale.
    np.testing.assert_allclose(got[rows], wanted[rows], atol=1e-4)


def test_margins_touch_the_label_only():
  cosine, labels = _cosines_and_labels()
  other = np.arange(5) != labels[:, None]
  for name in ('arcface', 'combined', 'cosface'):
    logits = _logits(name, cosine, labels)
    np.testing.assert_array_equal(logits[other], SCALE * cosine[other])
    assert np.all(logits[~other] < SCALE * cosine[~other])


def test_shards_of_the_classes_join_to_the_whole():
  cosine, labels = _cosines_and_labels(classes=6)
  whole = _logits('arcface', cosine, labels)
  parts = [
    _logits('arcface', cosine[:, i : i + 2], labels - i) for i in (0, 2, 4)
  ]
  # Roundings of a logit of up to 64; a margin at another place adds tens.
  np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=3e-5)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
  'cosine', [-1.0, 1.0, np.nextafter(np.float32(1), np.float32(2))]
)
def test_gradient_is_the_scale_at_parallel_vectors(name, cosine):
  labels = np.zeros(1, np.int32)

  # Operation by operation: equality asks that none is fused.
  def total(cosine):
    return margin.margin_logits(
      name, cosine, labels, scale=SCALE, margin=MARGINS[name]
    ).sum()

  gradient = jax.grad(total)(jnp.full([1, 1], cosine, jnp.float32))
  np.testing.assert_array_equal(gradient, [[SCALE]])


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('factor', [1.0, -1.0, 0.0, 1e-15, 1e15])
def test_training_gradients_are_finite(name, dtype, factor):
  # Every embedding lies on its class (or opposite, or has no length at all).
  _, weights, labels = _example()
  embeddings = jnp.asarray(factor * weights.T[labels], dtype)
  value, gradients = _gradients(name, embeddings, weights, labels)
  assert np.isfinite(value)
  assert gradients[0].dtype == dtype
  for gradient in gradients:
    assert np.all(np.isfinite(np.asarray(gradient, np.float32)))


def test_a_zero_embedding_still_learns():
  _, weights, labels = _example()
  embeddings = np.zeros([16, 8], np.float32)
  _, (gradient, _) = _gradients('arcface', embeddings, weights, labels)
  assert np.all(np.linalg.norm(16 * gradient, axis=1) > 0.1)


def test_gradient_of_the_plain_softmax_is_the_true_one():
  embeddings, weights, labels = _example(batch=4)
  direction = np.random.default_rng(1).normal(size=embeddings.shape)

  def moved(step):
    return _reference_loss(
      'softmax', embeddings + step * direction, weights, labels
    ).sum()

  _, (gradient, _) = _gradients('softmax', embeddings, weights, labels)
  # The mean of four losses.
  expected = (moved(1e-5) - moved(-1e-5)) / 2e-5 / 4
  # Float32 against a central difference in float64.
  np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-4)


def test_accuracy_ignores_the_margin():
  weights = np.eye(3, dtype=np.float32)
  # 0.1 nearer to its own class: with a margin of 0.5 the logits rank it lower.
  embeddings = np.array([[1, 0.9, 0], [0.9, 1, 0]], np.float32)
  labels = np.array([0, 0], np.int32)
  for name in NAMES:
    _, hits = _loss(name, embeddings, weights, labels)
    np.testing.assert_array_equal(hits, [1.0, 0.0])


def test_a_label_past_the_classes_is_nan_and_not_a_plausible_loss():
  embeddings, weights, labels = _example()
  labels[3] = 5
  losses, _ = _loss('arcface', embeddings, weights, labels)
  np.testing.assert_array_equal(np.isnan(losses), np.arange(16) == 3)


def test_unknown_loss_lists_the_accepted_names():
  with pytest.raises(
    ValueError, match=r"'arcfase' is no .* arcface, combined, cosface, soft"
  ):
    _loss('arcfase', *_example())


@pytest.mark.parametrize(
  ('function', 'margins', 'message'),
  [
    (margin.arcface, 28.6, r'margin is 28\.6; .* radians'),
    (margin.combined, (0.0, 0.3, 0.2), r'm1 is 0\.0; it is a factor'),
    (margin.combined, (1.0, 28.6, 0.2), r'm2 is 28\.6; it is radians'),
    (margin.combined, (1.0, 0.3, -0.2), r'm3 is -0\.2; it is a difference'),
  ],
)
def test_a_margin_out_of_range_is_named(function, margins, message):
  with pytest.raises(ValueError, match=message):
    function(jnp.zeros([1, 1]), margins)
