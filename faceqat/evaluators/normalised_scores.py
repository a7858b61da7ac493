"""Scores by how each template resembles strangers: z-norm.

A cosine less the mean of the template's cosines with a cohort of strangers, by
their deviation (Auckenthaler et al. 2000, "Score normalization for
text-independent speaker verification systems"). How alike all faces of a camera
are, and how much one face resembles everybody, are in both, and leave the
score. So the threshold of a normalised score holds on another camera where that
of a cosine does not, given a cohort of that camera: benchmarks/cameras.py.
"""

from collections.abc import Sequence

import numpy as np

from faceqat.evaluators import verification
from faceqat.evaluators.match_rates import unit_vectors

# People of a cohort.
COHORT = 40
# Scores are counted in so many steps to a deviation, up to so many deviations:
# with 40 strangers of 128 numbers, the same face has some 10.
_STEPS, _MOST = 1024, 64
# Rows at a time.
_BLOCK = 512


def statistics(
  templates: np.ndarray, cohort: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation, [N] each, of the cosines of templates with a cohort.

  Args:
    templates: [N, D], of any type, not normalised.
    cohort: [C, D], one template a stranger.
  """
  cosines = unit_vectors(templates) @ unit_vectors(cohort).T
  # No template is as far from all strangers.
  return cosines.mean(axis=1), np.maximum(cosines.std(axis=1), 1e-6)


def thresholds(
  embeddings: np.ndarray, people: np.ndarray, shares: Sequence[float]
) -> list[float | None]:
  """Normalised scores that no more than a share of impostor pairs reaches.

  `COHORT` people, drawn with a fixed seed, are the cohort of all others, and in
  no pair. Every pair counts twice, either image being the template.

  Args:
    embeddings: [N, D], of any type, not normalised.
    people: int [N].
    shares: in (0, 1).

  Returns:
    None where there are too few people for a share.
  """
  names = np.random.default_rng(0).permutation(np.unique(people))
  inside = np.isin(people, names[:COHORT])
  if len(names) < COHORT + 3:
    return [None] * len(shares)
  rows = np.flatnonzero(inside)
  _, first = np.unique(people[rows], return_index=True)
  rest, owners = embeddings[~inside], people[~inside]
  mean, deviation = statistics(rest, embeddings[rows[first]])
  unit = unit_vectors(rest)
  histogram = np.zeros(2 * _MOST * _STEPS + 1, np.int64)
  for start in range(0, len(unit), _BLOCK):
    part = slice(start, start + _BLOCK)
    scores = unit[part] @ unit.T
    scores -= mean[part, np.newaxis]
    scores /= deviation[part, np.newaxis]
    np.clip(scores, -_MOST, _MOST, out=scores)
    scores += _MOST
    scores *= _STEPS
    # Cut off, as they are not negative.
    steps = scores.astype(np.int32)
    own = steps[owners[part, np.newaxis] == owners]
    histogram += np.bincount(np.ravel(steps), minlength=len(histogram))
    histogram -= np.bincount(own, minlength=len(histogram))
  reached = np.cumsum(histogram[::-1])[::-1]
  found = []
  for share in shares:
    step = int(np.argmax(reached <= share * reached[0]))
    # Every pair is there twice.
    enough = reached[step] >= 2 * verification.MIN_FALSE_ACCEPTS
    found.append(step / _STEPS - _MOST if enough else None)
  return found
