"""Templates, and the scores of a few on the host, without JAX.

A template stands for a face: an int8 embedding less its zero point, or the sum
of two, of an image and of its mirror image. `matching` says what a score is.
"""

import math

import numpy as np

ONE = 2**29  # The score of two templates that point the same way.
VIEWS = 2  # A template sums the embeddings of at most so many images.
# An int8 less an int8 zero point is within 255.
REACH = VIEWS * 255
# Up to this many elements every dot product and squared norm is below 2^31.
MAX_SIZE = (2**31 - 1) // REACH**2


def fits(array: np.ndarray) -> bool:
  """Whether these can be templates: integers within REACH."""
  if not np.issubdtype(array.dtype, np.integer):
    return False
  return bool(np.abs(array.astype(np.int64)).max(initial=0) <= REACH)


def score(a: np.ndarray, b: np.ndarray) -> int:
  """What `matching.cosine` gives for two templates [D], of any integer type.

  >>> score(np.array([3, 4]), np.array([-6, -8])) == -ONE
  True
  """
  a, b = np.int64(a), np.int64(b)
  dot, norms = int(a @ b), int(a @ a) * int(b @ b)
  size = math.isqrt(dot * dot * ONE**2 // max(norms, 1))
  return -size if dot < 0 else size


def search(
  gallery: np.ndarray, probes: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
  """What `matching.search` gives for templates [N, D] and [P, D] within REACH.

  Some microseconds for each pair.
  """
  scores = np.array([[score(a, b) for a in gallery] for b in probes], np.int32)
  # Stable: of equal scores the lower index comes first.
  rows = np.argsort(-scores, axis=1, kind='stable')[:, :k].astype(np.int32)
  return rows, np.take_along_axis(scores, rows, axis=1)
