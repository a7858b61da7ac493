"""Verification of templates, each of several images, as IJB does it.

A template is the sum over its media of the mean embedding of a medium's
images, so that a video of many frames counts as one photograph does.
Embeddings may be weighted: by their own norm (a face in which the network sees
little has a short embedding), and by the quality in the list, the detector's
score. Scores are cosines of templates.

InsightFace's eval_ijbc.py sums the embeddings of an image and of its mirror
image and by default uses both weights. The authors of VGGFace2 pool as here,
of unit vectors (Cao et al. 2018).

Integer embeddings are exact, and are pooled in float64 as the others are: this
is outside of the integer program, which ships to match images, or sums of two.
"""

from collections.abc import Iterator

import numpy as np

from faceqat.data.benchmarks.ijb import TemplateSet
from faceqat.evaluators import verification
from faceqat.evaluators.verification import Predict

# Pairs compared at a time.
_BLOCK = 100_000


def pool(
  embeddings: np.ndarray,
  template: np.ndarray,
  media: np.ndarray,
  weights: np.ndarray,
) -> np.ndarray:
  """Means within each medium, summed over the media of each template.

  Args:
    embeddings: [N, D], float or integer.
    template: [N] integers, in 0 .. T-1.
    media: [N] integers; one number in two templates is two media.
    weights: [N], of the embeddings.

  Returns:
    float64 [T, D], not normalised.
  """
  _, group, counts = np.unique(
    np.stack([template, media]), axis=1, return_inverse=True, return_counts=True
  )
  share = weights / counts[group.reshape(-1)]
  # It takes a second to import.
  import scipy.sparse

  sums = scipy.sparse.csr_array((share, (template, np.arange(len(template)))))
  return sums @ np.asarray(embeddings, float)


def score(
  predict: Predict,
  templates: TemplateSet,
  *,
  use_norm: bool,
  use_quality: bool,
  batch_size: int,
) -> np.ndarray:
  """The cosines of pairs of templates, float64 [P].

  Args:
    predict: from uint8 [batch_size, H, W, 3] to [batch_size, D].
    templates: P pairs of templates.
    use_norm: whether a longer embedding counts more; unit vectors otherwise.
    use_quality: whether an image of higher quality counts more.
    batch_size: images in one call of `predict`.

  Raises:
    ValueError: an embedding is not finite.
  """
  embeddings = verification.embed(predict, templates.images, batch_size)
  weights = np.ones(len(embeddings))
  if use_quality:
    weights = templates.quality
  if not use_norm:
    norms = np.linalg.norm(np.asarray(embeddings, float), axis=1)
    weights = weights / np.where(norms > 0, norms, 1)
  pooled = pool(embeddings, templates.template, templates.media, weights)
  scores = []
  for start in range(0, len(templates), _BLOCK):
    block = slice(start, start + _BLOCK)
    first, second = templates.first[block], templates.second[block]
    scores.append(verification.cosine(pooled[first], pooled[second]))
  return np.concatenate(scores)


def summarize(
  scores: np.ndarray, templates: TemplateSet
) -> Iterator[tuple[str, float]]:
  """`verification.rates` of pairs of templates: the protocol has no folds."""
  yield from verification.rates(scores, templates.same)
