import numpy as np
import pytest
from template_sets import embed_pixels, make_templates

from faceqat.evaluators import templates, verification


def test_media_count_alike_however_many_images_they_have():
  # Template 0: a video of two frames and a photograph; template 1: the same
  # number of a medium in another template is another medium.
  embeddings = np.array([[1, 0], [3, 2], [0, 10], [4, 4]])
  template, media = np.array([0, 0, 0, 1]), np.array([8, 8, 3, 8])
  pooled = templates.pool(embeddings, template, media, np.ones(4))
  np.testing.assert_array_equal(pooled, [[2, 11], [4, 4]])
  weights = np.array([1, 0, 0.5, 2])
  pooled = templates.pool(embeddings, template, media, weights)
  np.testing.assert_array_equal(pooled, [[0.5, 5], [8, 8]])


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_pooling_equals_a_loop(dtype):
  rng = np.random.default_rng(0)
  embeddings = (50 * rng.normal(size=(300, 6))).astype(dtype)
  template, media = (
    rng.permutation(np.arange(300) % 40),
    rng.integers(9, size=300),
  )
  weights = rng.uniform(size=300)
  pooled = templates.pool(embeddings, template, media, weights)
  for t in range(40):
    wanted = sum(
      np.mean(
        [
          weights[i] * embeddings[i].astype(float)
          for i in range(300)
          if (template[i], media[i]) == (t, m)
        ],
        axis=0,
      )
      for m in np.unique(media[template == t])
    )
    # Sums of some ten numbers below 200 in another order.
    np.testing.assert_allclose(pooled[t], wanted, atol=1e-11)


@pytest.mark.parametrize('use_norm', [False, True])
@pytest.mark.parametrize('use_quality', [False, True])
def test_scores_are_cosines_of_weighted_sums(use_norm, use_quality):
  tiny = make_templates()
  scores = templates.score(
    embed_pixels, tiny, use_norm=use_norm, use_quality=use_quality, batch_size=3
  )
  faces = verification.embed(embed_pixels, tiny.images, 8).astype(float)
  if not use_norm:
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
  if use_quality:
    faces *= tiny.quality[:, None]
  one = (faces[0] + faces[1]) / 2 + faces[2]
  pooled = [one, faces[3], faces[4] + faces[5], (faces[6] + faces[7]) / 2]
  wanted = [
    pooled[a]
    @ pooled[b]
    / np.linalg.norm(pooled[a])
    / np.linalg.norm(pooled[b])
    for a, b in zip(tiny.first, tiny.second)
  ]
  np.testing.assert_allclose(scores, wanted, atol=1e-14)


def test_integer_embeddings_are_pooled_as_the_same_floats_are():
  tiny, settings = make_templates(), {'use_norm': True, 'use_quality': True}
  integer, floating = (
    templates.score(predict, tiny, batch_size=4, **settings)
    for predict in (embed_pixels, lambda x: embed_pixels(x).astype(np.float32))
  )
  np.testing.assert_array_equal(integer, floating)


def test_a_template_of_images_that_show_nothing_scores_zero():
  def predict(images):
    embeddings = embed_pixels(images)
    embeddings[:] = 0
    return embeddings

  for use_norm in (True, False):
    scores = templates.score(
      predict,
      make_templates(),
      use_norm=use_norm,
      use_quality=True,
      batch_size=8,
    )
    assert scores.tolist() == [0] * 4


def test_figures_are_those_that_need_no_folds():
  tiny = make_templates()
  figures = dict(templates.summarize(np.array([0.9, 0.1, 0.95, 0.2]), tiny))
  assert figures == {'auc': pytest.approx(2 / 3), 'eer': pytest.approx(1 / 3)}
