import fractions
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxpr_walk import forbidden_types

from faceqat.integer import exact_cosine, matching
from faceqat.integer.matching import MAX_SIZE, ONE, REACH


def exact_score(dot, norm_a, norm_b):
  """The definition, in integers without limits."""
  if norm_a * norm_b == 0:
    return 0
  size = math.isqrt(dot * dot * ONE * ONE // (norm_a * norm_b))
  return size if dot >= 0 else -size


def products(a, b):
  """(a.b, a.a, b.b) in python integers."""
  a, b = a.astype(np.int64), b.astype(np.int64)
  return int(a @ b), int(a @ a), int(b @ b)


def make_templates(rng, count, size, reach):
  """Pairs that are random, nearly equal, equal, opposite, extreme, zero."""
  a, b = rng.integers(-reach, reach, (2, count, size), endpoint=True)
  b[::2] = np.clip(
    a[::2] + rng.integers(-1, 1, a[::2].shape, endpoint=True), -reach, reach
  )
  b[0], b[1], b[2] = a[0], -a[1], 0
  a[3:6], b[3], b[4], b[5] = reach, reach, -reach, 1
  b[6] = 0
  b[6, 0] = 1
  return a.astype(np.int16), b.astype(np.int16)


@pytest.mark.parametrize('reach', [1, 2, 7, 128, REACH])
@pytest.mark.parametrize('size', [1, 2, 3, 128, 512, MAX_SIZE])
def test_a_cosine_is_the_exact_one_cut_to_29_bits(size, reach):
  rng = np.random.default_rng([size, reach])
  a, b = make_templates(rng, 30 if size > 1000 else 300, size, reach)
  wanted = [exact_score(*products(x, y)) for x, y in zip(a, b)]
  got = matching.cosine(a, b)
  assert got.dtype == jnp.int32
  np.testing.assert_array_equal(got, wanted)
  assert got[3] == -got[4] == ONE


def score(dot, norm_a, norm_b):
  """`exact_cosine.score` of numbers that need not come from templates."""
  dot = jnp.asarray(dot, jnp.int32)
  norms = [jnp.asarray(norm, jnp.uint32) for norm in (norm_a, norm_b)]
  roots = [exact_cosine.inverse_root(norm) for norm in norms]
  return jax.jit(exact_cosine.score)(
    dot, norms[0], roots[0], norms[1], roots[1]
  )


def test_scores_are_exact_where_the_last_bit_is_decided():
  """Dots beside t * sqrt(norms) / 2^29, where the score becomes t."""
  rng = np.random.default_rng(0)
  edges = [2**k + d for k in range(31) for d in (-1, 0, 1)] + [2**31 - 1]
  edges = [edge for edge in edges if 0 < edge < 2**31]
  norms = [*itertools.product(edges, edges)]
  norms += (2 ** rng.uniform(0, 31, (20_000, 2))).astype(int).tolist()
  cases = []
  for norm_a, norm_b in norms:
    limit = math.isqrt(norm_a * norm_b)
    middle = rng.integers(0, limit, endpoint=True)
    step = int(rng.integers(0, ONE, endpoint=True))
    beside = math.isqrt(step * step * norm_a * norm_b // ONE**2)
    for dot in (0, 1, limit, limit - 1, int(middle), beside, beside + 1):
      if 0 <= dot <= limit:
        cases.append((dot, norm_a, norm_b))
  assert len(cases) > 150_000
  wanted = [exact_score(*case) for case in cases]
  dot, norm_a, norm_b = np.array(cases).T
  np.testing.assert_array_equal(score(dot, norm_a, norm_b), wanted)
  np.testing.assert_array_equal(
    score(-dot, norm_a, norm_b), np.negative(wanted)
  )


def test_a_cosine_that_is_a_whole_number_of_steps_is_met_exactly():
  for halvings in range(7):
    b = np.zeros(4096, np.int16)
    b[: 4**halvings] = 3
    a = np.eye(1, 4096, dtype=np.int16)[0] * 509
    assert matching.cosine(a, b) == ONE >> halvings
    assert matching.cosine(-a, b) == -(ONE >> halvings)


def test_inverse_roots_are_cut_and_not_rounded():
  rng = np.random.default_rng(1)
  norms = np.array(
    [
      *(1, 2, 3, 4, 5, 2**30 - 1, 2**30, 2**30 + 1, 2**31 - 1),
      *rng.integers(1, 2**31, 3_000),
    ]
  )
  got = exact_cosine.inverse_root(jnp.asarray(norms, jnp.uint32))
  for norm, root in zip(norms.tolist(), np.asarray(got).tolist()):
    while norm < 2**30:
      norm *= 4
    assert root == min(math.isqrt(2**94 // norm), 2**32 - 1)


def test_a_higher_cosine_never_scores_lower_whatever_the_norms():
  rng = np.random.default_rng(2)
  lengths = 2 ** rng.uniform(0, 9, (600, 1))
  gallery = np.rint(rng.normal(size=(600, 3)) * lengths)
  gallery = np.clip(gallery, -REACH, REACH).astype(np.int16)
  gallery = gallery[np.any(gallery != 0, axis=1)]
  probe = np.array([311, -207, 499], np.int16)
  scores = np.asarray(matching.cosine(gallery, probe)).tolist()
  exact = []
  for template in gallery:
    dot, norm, own = products(template, probe)
    # The cosine's square with its sign: in the same order.
    exact.append(fractions.Fraction(dot * abs(dot), norm * own))
  order = sorted(range(len(exact)), key=exact.__getitem__)
  ordered = [scores[i] for i in order]
  assert ordered == sorted(ordered)
  # Different cosines do have different scores here: the order is strict.
  assert len(set(scores)) == len(set(exact)) > 400


@pytest.mark.parametrize(
  ('size', 'k', 'dtype'),
  [
    (1, 1, 'int8'),
    (1, 40, 'int8'),
    (2, 9, 'int8'),
    (3, 517, 'int8'),
    (3, 517, 'int16'),
    (64, 1, 'int8'),
    (64, 1, 'int16'),
    (64, 100, 'int8'),
  ],
)
def test_a_search_is_the_sorted_cosines_of_all(size, k, dtype):
  rng = np.random.default_rng([size, k])
  # Few different templates, some of zeros: many scores are equal.
  gallery = rng.integers(-2, 3, (517, size)).astype(dtype)
  probes = rng.integers(-2, 3, (70, size), np.int8)
  a, b = probes[:, None].astype(np.int64), gallery.astype(np.int64)
  exact = np.frompyfunc(exact_score, 3, 1)
  scores = exact(np.sum(a * b, -1), np.sum(a * a, -1), np.sum(b * b, -1))
  scores = scores.astype(np.int32)
  wanted = np.argsort(-scores, axis=1, kind='stable')[:, :k]
  indices, found = matching.search(gallery, probes, k)
  np.testing.assert_array_equal(indices, wanted)
  np.testing.assert_array_equal(
    found, np.take_along_axis(scores, wanted, axis=1)
  )
  assert indices.dtype == found.dtype == jnp.int32


@pytest.mark.parametrize('reach', [1, 128, REACH])
def test_no_score_is_above_what_its_estimate_allows(reach):
  rng = np.random.default_rng(reach)
  a, b = make_templates(rng, 300, 128, reach)
  gallery = matching.prepare(a)
  dots = matching._products(b, gallery)
  exact = b.astype(np.int64) @ a.T.astype(np.int64)
  np.testing.assert_array_equal(dots, exact)
  estimates = matching._estimate(dots, gallery)
  lengths = np.maximum(np.linalg.norm(a.astype(float), axis=1), 1)
  lost = np.abs(exact) / lengths * 2**15 - np.abs(estimates)
  # Of a float64 quotient below 2^31.
  assert -(2**-20) < lost.min() <= lost.max() < 2
  assert np.all(estimates * np.sign(exact) >= 0)
  scores = matching.cosine(a, b[:, None])
  most, norms = jax.jit(matching._most), exact_cosine.squared_norm(b)
  for estimate, row in zip(estimates.T, scores.T):
    assert np.all(row <= most(estimate, *norms))


def test_a_search_finds_the_face_among_others_and_its_mirror_image():
  rng = np.random.default_rng(3)
  plain, mirrored = rng.integers(-128, 128, (2, 300, 128), np.int8)
  gallery = matching.template(plain, mirrored, zero_point=-7)
  noise = rng.integers(-20, 21, plain.shape)
  noisy = np.clip(plain + noise, -128, 127).astype(np.int8)
  probes = matching.template(noisy, mirrored, zero_point=-7)
  indices, scores = matching.search(gallery, probes, 2)
  np.testing.assert_array_equal(indices[:, 0], np.arange(300))
  # Random templates of 128 elements are 1 / sqrt(128) apart from orthogonal.
  assert np.min(scores[:, 0]) > 0.9 * ONE > 0.6 * ONE > np.max(scores[:, 1])


def test_templates_sum_embeddings_less_their_zero_points():
  extremes = np.array([-128, -1, 0, 127], np.int8)
  a, b = (x.ravel() for x in np.meshgrid(extremes, extremes))
  for zero_point in (-128, -3, 0, 127):
    wanted = a.astype(int) + b - 2 * zero_point
    got = matching.template(a, b, zero_point=zero_point)
    assert got.dtype == jnp.int16
    np.testing.assert_array_equal(got, wanted)
    assert np.max(np.abs(wanted)) <= REACH
    single = matching.template(jnp.asarray(a), zero_point=zero_point)
    np.testing.assert_array_equal(single, a.astype(int) - zero_point)


def test_an_int8_embedding_with_zero_point_0_is_a_template():
  a, b = np.random.default_rng(4).integers(-128, 128, (2, 50, 64), np.int8)
  np.testing.assert_array_equal(
    matching.cosine(a, b),
    matching.cosine(matching.template(a), matching.template(b)),
  )


def test_matching_needs_no_float_and_no_64_bits():
  embeddings = np.ones((70, 16), np.int8)
  sums = np.ones((70, 16), np.int16)
  assert forbidden_types(matching.template, embeddings, embeddings) == set()
  for a, b in itertools.product((embeddings, sums), repeat=2):
    assert forbidden_types(matching.cosine, a, b) == set()
    search = forbidden_types(lambda a, b: matching.search(a, b, 3), a, b)
    assert search == set()


def test_the_longest_templates_fill_int32_and_longer_ones_are_refused():
  assert MAX_SIZE * REACH**2 < 2**31 <= (MAX_SIZE + 1) * REACH**2
  longest = np.full((1, MAX_SIZE), REACH, np.int16)
  assert matching.cosine(longest, longest) == ONE
  _, scores = matching.search(longest, -longest, 1)
  assert scores == -ONE
  longer = np.ones((1, MAX_SIZE + 1), np.int8)
  with pytest.raises(ValueError, match='8257 elements; above 8256'):
    matching.cosine(longer, longer)
  with pytest.raises(ValueError, match='8257 elements; above 8256'):
    matching.search(longer, longer, 1)


A = np.ones((4, 8), np.int8)


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda: matching.cosine(A, A * 1.0), 'b is float64; templates are int8'),
    (lambda: matching.cosine(A.astype(np.uint8), A), 'a is uint8'),
    (
      lambda: matching.cosine(A, A.astype(np.int16) * -511),
      r'b has elements in \[-511, 0\]; .* within 510',
    ),
    (lambda: matching.cosine(A, A[:, :1]), r'\(4, 8\) and \(4, 1\)'),
    (lambda: matching.cosine(A[0, 0], A[0, 0]), r'\(\) and \(\)'),
    (lambda: matching.search(A, A[0], 1), r'probes is of shape \(8,\)'),
    (
      lambda: matching.search(A.astype(np.int32) * 600, A, 1),
      r'gallery has elements in \[0, 600\]',
    ),
    (lambda: matching.search(A, A, 5), r'gallery of 4, is 5; .* \[1, 4\]'),
    (lambda: matching.search(A, A, 0), r'gallery of 4, is 0'),
    (lambda: matching.search(A[:0], A, 1), r'gallery of 0, is 1'),
    (lambda: matching.template(A, A, A), '1 to 2 embeddings, it got 3'),
    (lambda: matching.template(), 'it got 0'),
    (lambda: matching.template(A.astype(np.int16)), 'int8 .*, got int16'),
    (lambda: matching.template(A, A[0]), r'shapes \(4, 8\) and \(8,\)'),
    (lambda: matching.template(A, zero_point=128), 'zero_point is 128'),
  ],
)
def test_what_is_no_template_is_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_a_search_without_probes_finds_nothing():
  indices, scores = matching.search(A, A[:0], 2)
  assert indices.shape == scores.shape == (0, 2)
