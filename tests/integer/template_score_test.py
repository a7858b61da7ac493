import numpy as np

from faceqat.integer import matching, template_score


def test_a_score_on_the_host_has_the_bits_of_matching():
  rng = np.random.default_rng(0)
  templates = rng.integers(-510, 511, (64, 128)).astype(np.int16)
  # Lengths of all sizes, opposites, equals, and one that is nothing.
  templates //= rng.integers(1, 300, (64, 1)).astype(np.int16)
  templates[:4] = templates[4]
  templates[1] *= -1
  templates[2] //= 2
  templates[3] = 0
  others = np.roll(templates, 4, axis=0)
  others[:4] = templates[4]
  expected = np.asarray(matching.cosine(templates, others)).tolist()
  assert [*map(template_score.score, templates, others)] == expected
  assert expected[:2] == [template_score.ONE, -template_score.ONE]
  assert expected[3] == 0


def test_a_search_on_the_host_has_the_bits_of_matching():
  rng = np.random.default_rng(1)
  gallery = rng.integers(-510, 511, (20, 16)).astype(np.int16)
  # Equal scores, and a probe without a direction.
  gallery[7] = gallery[3]
  probes = np.stack([gallery[3], -gallery[0], 0 * gallery[0]])
  expected = matching.search(gallery, probes, 6)
  for found, right in zip(
    template_score.search(gallery, probes, 6), expected, strict=True
  ):
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, right)
  assert expected[0][0][:2].tolist() == [3, 7]
