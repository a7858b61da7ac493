import numpy as np
import pytest

from faceqat.identification import retrieval
from faceqat.integer import matching


def make_templates(rng, count, size, kind):
  if kind == 'float32':
    values = rng.normal(size=(count, size))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32)
  reach = 127 if kind == 'int8' else 510
  return rng.integers(-reach, reach, (count, size), kind, endpoint=True)


def expected(templates, labels, probe, k):
  """The k best people by trying everybody."""
  wide = templates.astype(np.float64)
  cosines = wide @ probe.astype(np.float64)
  cosines /= np.linalg.norm(wide, axis=1) * np.linalg.norm(
    probe.astype(np.float64)
  )
  best = {
    label: max((c, -i) for i, c in enumerate(cosines) if labels[i] == label)
    for label in np.unique(labels)
  }
  order = sorted(best, key=best.get, reverse=True)[:k]
  return order, [-best[p][1] for p in order], [best[p][0] for p in order]


@pytest.mark.parametrize('kind', ['float32', 'int16', 'int8'])
@pytest.mark.parametrize('block', [12, 1000])
@pytest.mark.parametrize('few', [0, 4096])
def test_the_nearest_people_are_those_of_trying_everybody(
  kind, block, few, monkeypatch
):
  monkeypatch.setattr(retrieval, 'FEW_PAIRS', few)
  rng = np.random.default_rng(0)
  labels = rng.integers(9, size=60)
  labels[:9] = np.arange(9)
  templates = make_templates(rng, 60, 24, kind)
  probes = make_templates(rng, 5, 24, kind)
  # One person looks like the first probe in forty images: the others come
  # after all of them.
  templates[20:], labels[20:] = probes[0], 3
  found = retrieval.Index(templates, labels, block).find_people(probes, 4)
  assert found.scores.dtype == (np.float32 if kind == 'float32' else np.int32)
  for p, probe in enumerate(probes):
    people, rows, cosines = expected(templates, labels, probe, 4)
    assert found.people[p].tolist() == people
    # Sums of 24 float32 products of unit vectors; integers are exact to 2^-29.
    np.testing.assert_allclose(found.cosines[p], cosines, atol=24 * 2.0**-23)
    if p:
      assert found.rows[p].tolist() == rows
  # Of equal scores the first image, in whatever block.
  assert found.rows[0, 0] == 20


def test_many_probes_are_searched_in_blocks(monkeypatch):
  rng = np.random.default_rng(1)
  templates = make_templates(rng, 30, 8, 'int8')
  probes = make_templates(rng, 10, 8, 'int8')
  whole = retrieval.find_people(templates, np.arange(30), probes, 3)
  monkeypatch.setattr(retrieval, 'PROBE_BLOCK', 5)
  parts = retrieval.find_people(templates, np.arange(30), probes, 3)
  for one, other in zip(whole, parts):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('k', [0, 3])
def test_more_people_than_there_are_cannot_be_found(k):
  templates = np.eye(4, dtype=np.float32)
  with pytest.raises(ValueError, match=f'k is {k}, for a gallery of 2 people'):
    retrieval.find_people(templates, np.array([0, 0, 1, 1]), templates, k)


@pytest.mark.parametrize('kind', ['float32', 'int32'])
def test_a_stated_share_of_strangers_reaches_the_threshold(kind):
  scores = np.random.default_rng(0).permutation(1000).astype(kind)
  threshold = retrieval.choose_threshold(scores, 0.02)
  assert isinstance(threshold, float if kind == 'float32' else int)
  assert np.sum(scores >= threshold) == 20
  assert threshold == 980


@pytest.mark.parametrize('kind', ['float32', 'int32'])
def test_of_strangers_that_tie_none_is_let_through(kind):
  scores = np.arange(1000).astype(kind)
  scores[975:985] = 980
  threshold = retrieval.choose_threshold(scores, 0.02)
  assert np.sum(scores >= threshold) == 15


@pytest.mark.parametrize(
  ('count', 'rate', 'message'),
  [
    (999, 0.01, r'1,000 images or more, or a rate of at least 0\.0101$'),
    (300, 0.001, r'10,000 images or more, or a rate of at least 0\.0334$'),
    (5, 0.5, r'5 images of strangers .*give 20 images or more$'),
    (100, 0, 'must be above 0'),
    (100, 1, 'must be above 0 and below 1'),
  ],
)
def test_a_rate_that_the_strangers_do_not_support_is_refused(
  count, rate, message
):
  with pytest.raises(ValueError, match=message):
    retrieval.choose_threshold(np.zeros(count, np.float32), rate)


def test_the_rate_that_is_proposed_is_taken():
  scores = np.arange(300).astype(np.float32)
  assert np.sum(scores >= retrieval.choose_threshold(scores, 0.0334)) == 10


def test_a_cosine_becomes_the_lowest_score_that_reaches_it():
  assert retrieval.as_score(0.25, False) == 0.25
  for cosine in (0.1, -0.1, 0.5, 1.0):
    score = retrieval.as_score(cosine, True)
    assert (score - 1) / matching.ONE < cosine <= score / matching.ONE
