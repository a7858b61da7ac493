"""Face verification: are two images of the same person?

The protocol is LFW View 2: person-disjoint folds, the threshold chosen on all
folds but one and applied to that one. An image's embedding is the sum of its
own and its mirror image's (insightface; facenet concatenates the two, which
gives other numbers). A score is the cosine of two embeddings; the squared
distance of unit vectors, which others report, is 2 - 2 * score.

Of P pairs, `scores` are [P] float64 or integers, higher for the same person;
`same` is [P] bool, and `fold` [P] integers.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.faces.lazy_images import LazyImages
from faceqat.progress import track

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# A rate measured on fewer false accepts than this is mostly noise.
MIN_FALSE_ACCEPTS = 10

Predict = Callable[[np.ndarray], np.ndarray]


def embed(
  predict: Predict, images: Sequence[np.ndarray], batch_size: int
) -> np.ndarray:
  """Embeds images together with their mirror images.

  Every call of `predict` has the same shape: the last batch is filled with
  black images, whose embeddings are dropped.

  Args:
    predict: from uint8 [batch_size, H, W, 3] to [batch_size, D], float or
      integer, normalised or not.
    images: N images, uint8 [H, W, 3].
    batch_size: images in one call of `predict`.

  Returns:
    [N, D], not normalised: int32 where `predict` gives integers, whose sums
    are exact, else float32.

  Raises:
    ValueError: there is no image, or an embedding is not finite.
  """
  return embed_each({'': predict}, images, batch_size)['']


def embed_each(
  predicts: Mapping[str, Predict],
  images: Sequence[np.ndarray],
  batch_size: int,
) -> dict[str, np.ndarray]:
  """`embed` by several networks, of images that are decoded once for all."""
  if not len(images):
    raise ValueError('There is no image to embed')

  # A thread each: many operations of a network keep one processor busy, and not
  # every runtime takes calls of two threads.
  threads = {name: futures.ThreadPoolExecutor(1) for name in predicts}
  sums = {name: [] for name in predicts}
  starts = range(0, len(images), batch_size)
  try:
    for start in track(starts, 'batch', len(starts), images=batch_size):
      stop = min(start + batch_size, len(images))
      batch = np.stack([images[i] for i in range(start, stop)])
      batch = np.pad(
        batch, [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)]
      )
      before = [parts[-1] for parts in sums.values() if parts]
      for name, predict in predicts.items():
        sums[name].append(threads[name].submit(_embed_views, predict, batch))
      # The next batch is decoded meanwhile, but no more of them.
      for part in before:
        part.result()
    found = {
      name: np.concatenate([part.result() for part in parts])[: len(images)]
      for name, parts in sums.items()
    }
  finally:
    for thread in threads.values():
      thread.shutdown(wait=False, cancel_futures=True)
  for embeddings in found.values():
    check_finite(embeddings)
  return found


def _embed_views(predict: Predict, batch: np.ndarray) -> np.ndarray:
  mirrored = np.ascontiguousarray(batch[:, :, ::-1])
  return sum_views(predict(batch), predict(mirrored))


def sum_views(plain, mirrored) -> np.ndarray:
  """The embeddings [B, D] of images and of their mirror images, added."""
  plain, mirrored = np.asarray(plain), np.asarray(mirrored)
  integers = np.issubdtype(plain.dtype, np.integer)
  wide = np.int32 if integers else np.float32
  return plain.astype(wide) + mirrored.astype(wide)


def check_finite(embeddings: np.ndarray):
  """Raises a ValueError where one of the embeddings [N, D] is not finite."""
  finite = np.isfinite(embeddings).all(axis=1)
  if not finite.all():
    raise ValueError(
      f'{np.sum(~finite)} of {len(embeddings)} embeddings are not finite, the '
      f'first that of image {np.argmin(finite)}; the parameters have diverged'
    )


class PairEmbeddings(NamedTuple):
  """The embeddings of a pair set.

  Attributes:
    images: [M, D] as `embed` gives them, of each image that is in a pair.
    rows: int64 [2, P], where in `images` the two of each pair are.
  """

  images: np.ndarray
  rows: np.ndarray

  @property
  def first(self) -> np.ndarray:
    """[P, D]."""
    return self.images[self.rows[0]]

  @property
  def second(self) -> np.ndarray:
    """[P, D]."""
    return self.images[self.rows[1]]


def embed_pairs(
  predict: Predict, pair_set: PairSet, batch_size: int
) -> PairEmbeddings:
  """`embed` for both images of every pair; one in several pairs only once."""
  return embed_pairs_each({'': predict}, pair_set, batch_size)['']


def embed_pairs_each(
  predicts: Mapping[str, Predict], pair_set: PairSet, batch_size: int
) -> dict[str, PairEmbeddings]:
  """`embed_pairs` by several networks, as `embed_each`."""
  ends = np.stack([pair_set.first, pair_set.second])
  used, rows = np.unique(ends, return_inverse=True)
  images = LazyImages(len(used), lambda i: pair_set.images[int(used[i])])
  return {
    name: PairEmbeddings(embeddings, rows.reshape(ends.shape))
    for name, embeddings in embed_each(predicts, images, batch_size).items()
  }


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Cosine similarities of [P, D] and [P, D], of any type.

  >>> cosine(np.array([[3, 4], [0, 0]]), np.array([[4, 3], [1, 0]]))
  array([0.96, 0.  ])

  Returns:
    [P] float64 in [-1, 1]; 0 where an embedding is all zeros.
  """
  first, second = np.asarray(first, float), np.asarray(second, float)
  norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
  products = np.sum(first * second, axis=1)
  return np.clip(products / np.where(norms > 0, norms, 1), -1, 1)


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float | int:
  """The threshold of the highest accuracy, `score >= threshold` being "same".

  Every way to split the scores is tried: at the midpoint of two neighbouring
  distinct scores, at the lowest, and just over the highest. Among equally
  accurate thresholds the highest wins, that is, the fewest false accepts.

  >>> best_threshold(np.array([1, 4, 9]), np.array([False, True, True]))
  3

  Returns:
    The threshold; an integer where the scores are, midpoints rounded up.
  """
  order = np.argsort(-scores)
  scores, same = scores[order], same[order]
  # last[k]: the position of the last of the k-th group of equal scores.
  last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
  accepted = np.cumsum(same)[last]
  # Right decisions when groups 0..k are accepted; at the front: when none is.
  right = np.append(0, 2 * accepted - (last + 1)) + np.sum(~same)
  best = int(np.argmax(right))
  integers = np.issubdtype(scores.dtype, np.integer)
  if best == 0:
    highest = scores[0].item()
    return highest + 1 if integers else float(np.nextafter(highest, np.inf))
  lowest_in = scores[last[best - 1]].item()
  if best == len(last):
    return lowest_in
  highest_out = scores[last[best]].item()
  if integers:
    return (lowest_in + highest_out + 1) // 2
  middle = (lowest_in + highest_out) / 2
  # The midpoint of neighbouring floats may round down to the rejected one.
  return middle if middle > highest_out else lowest_in


def fold_accuracies(
  scores: np.ndarray, same: np.ndarray, fold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Accuracy on each fold at the threshold that is best on the others.

  Source: Huang et al. 2007, "Labeled Faces in the Wild", View 2.

  Returns:
    Accuracies [F] in [0, 1] and thresholds [F], by rising fold number.

  Raises:
    ValueError: there are fewer than two folds.
  """
  folds = np.unique(fold)
  if len(folds) < 2:
    raise ValueError(
      f'Cross-validation needs at least two folds of pairs, got {len(folds)}'
    )
  accuracies, thresholds = [], []
  for number in folds:
    held_out = fold == number
    threshold = best_threshold(scores[~held_out], same[~held_out])
    decisions = scores[held_out] >= threshold
    accuracies.append(np.mean(decisions == same[held_out]))
    thresholds.append(threshold)
  return np.array(accuracies), np.array(thresholds)


def has_folds(fold: np.ndarray) -> bool:
  """Whether there are pairs to choose a threshold on, and others to try it."""
  return len(np.unique(fold)) > 1


def equal_error_rate(far: np.ndarray, tar: np.ndarray) -> float:
  """The error where false accepts and false rejects are equally frequent.

  Args:
    far: [T] false accept rates, rising from 0 to 1.
    tar: [T] true accept rates at the same thresholds.

  Returns:
    The rate, interpolated linearly between two points of the curve.
  """
  gap = far - (1 - tar)
  after = int(np.argmax(gap >= 0))
  before = after - 1
  weight = -gap[before] / (gap[after] - gap[before])
  return float(far[before] + weight * (far[after] - far[before]))


def allowed_accepts(rate: float, trials: int) -> int:
  """How many false accepts do not exceed a rate.

  >>> allowed_accepts(1e-3, trials=10_999)
  10
  """
  # Rounded: 1e-3 * 10000 must count as 10.
  return math.floor(round(rate * trials, 6))


def is_supported(rate: float, trials: int) -> bool:
  """Whether ten false accepts or more are expected in so many trials."""
  return allowed_accepts(rate, trials) >= MIN_FALSE_ACCEPTS


def det(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The detection error tradeoff: false match and false non-match rates.

  ISO/IEC 19795-1 plots one over the other on normal-deviate (probit) axes, on
  which both ends are at infinity.

  Returns:
    FMR and FNMR, float64 [T] each in [0, 1], at every threshold from above all
    scores to the lowest: FMR rises from 0 to 1, FNMR falls from 1 to 0.

  Raises:
    ValueError: all pairs are of one kind.
  """
  far, tar = _roc(scores, same)
  return far, 1 - tar


def rates(scores: np.ndarray, same: np.ndarray) -> Iterator[tuple[str, float]]:
  """The figures that need no folds, as fractions.

  Yields:
    `auc`, `eer`, and `tar@far=X`, the highest TAR whose FAR does not exceed X,
    for those of `FARS` that the number of negative pairs supports.

  Raises:
    ValueError: all pairs are of one kind.
  """
  from sklearn import metrics

  far, tar = _roc(scores, same)
  yield 'auc', float(metrics.auc(far, tar))
  yield 'eer', equal_error_rate(far, tar)
  for limit in FARS:
    if is_supported(limit, np.sum(~same)):
      yield f'tar@far={limit:g}', float(tar[far <= limit][-1])


def summarize(
  scores: np.ndarray, same: np.ndarray, fold: np.ndarray
) -> Iterator[tuple[str, float]]:
  """The figures of a verification benchmark.

  Yields:
    `accuracy` and `accuracy_se`, the mean over the folds and its standard
    error (the sample deviation over the square root of the number of folds;
    insightface prints the deviation itself), what `rates` yields, and
    `threshold`, the mean over the folds, in the unit of the scores. Of a
    single fold, as in LFW's View 1, what `rates` yields alone.

  Raises:
    ValueError: all pairs are of one kind.
  """
  if not has_folds(fold):
    yield from rates(scores, same)
    return
  check_kinds(same)
  accuracies, thresholds = fold_accuracies(scores, same, fold)
  yield 'accuracy', float(np.mean(accuracies))
  deviation = np.std(accuracies, ddof=1)
  yield 'accuracy_se', float(deviation / np.sqrt(len(accuracies)))
  yield from rates(scores, same)
  yield 'threshold', float(np.mean(thresholds))


def evaluate(
  predict: Predict, pair_set: PairSet, *, batch_size: int
) -> Iterator[tuple[str, float]]:
  """Evaluates one precision of a model on one set of pairs.

  The figures do not depend on the batch size.

  Yields:
    (name, value), as `summarize` does.

  Raises:
    ValueError: as `summarize` does, or an embedding is not finite.
  """
  embeddings = embed_pairs(predict, pair_set, batch_size)
  scores = cosine(embeddings.first, embeddings.second)
  same, fold = np.asarray(pair_set.same, bool), np.asarray(pair_set.fold)
  yield from summarize(scores, same, fold)


def _roc(scores, same) -> tuple[np.ndarray, np.ndarray]:
  """FAR and TAR at every threshold, rising from 0 to 1."""
  # It takes a second to import.
  from sklearn import metrics

  check_kinds(same)
  far, tar, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
  return far, tar


def check_kinds(same: np.ndarray):
  """Raises a ValueError where all pairs are of one kind."""
  num_negative = int(np.sum(~same))
  if num_negative in (0, len(same)):
    raise ValueError(
      f'Verification needs pairs of the same and of different people, got '
      f'{len(same) - num_negative} and {num_negative}'
    )
