"""The same evaluation of each precision of a network: of pairs, and of people.

The precisions are in the order given. Where the first is `float`, the others'
embeddings are compared with its own.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from faceqat import progress
from faceqat.data.benchmarks.ijb import TemplateSet
from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import (
  identification_rates,
  influence,
  intervals,
  templates,
  verification,
)
from faceqat.evaluators.identification_rates import SearchResult
from faceqat.evaluators.verification import PairEmbeddings, Predict
from faceqat.integer import matching

Results = dict[str, dict[str, float]]


def on_pairs(
  predicts: Mapping[str, Predict],
  pair_set: PairSet,
  *,
  batch_size: int,
  embedded: dict[str, PairEmbeddings] | None = None,
) -> tuple[Results, dict[str, np.ndarray]]:
  """Verification by each precision.

  Args:
    predicts: by precision.
    pair_set: the pairs.
    batch_size: images in one call of the network.
    embedded: gets the embeddings by precision.

  Returns:
    Metric name to value by precision, as `verification.summarize` gives them
    and, where the pairs say who they show, `intervals.of_pairs`. After `float`
    also `low/difference` and `high/difference`, of its accuracy to the float
    one, and `cosine_mean` and `cosine_p1`, of the cosines of its embeddings
    and the float ones. A precision with integer embeddings has a second row,
    `<precision>_match`, whose pairs are compared in integers too.
    And the cosines by precision, float64 [P].
  """
  results, cosines = {}, {}
  float_images = None
  progress.note(
    f'evaluating {", ".join(predicts)}: {len(pair_set):,} pairs '
    f'({pair_set.name})'
  )
  found = verification.embed_pairs_each(predicts, pair_set, batch_size)
  if embedded is not None:
    embedded.update(found)
  for precision, embeddings in found.items():
    cosines[precision] = verification.cosine(
      embeddings.first, embeddings.second
    )
    float_scores = None if precision == 'float' else cosines.get('float')
    row = dict(_summarize(cosines[precision], pair_set, float_scores))
    if precision == 'float':
      float_images = embeddings.images
    elif float_images is not None:
      row.update(_summarize_nearness(embeddings.images, float_images))
    results[precision] = row
    if np.issubdtype(embeddings.images.dtype, np.integer):
      results[f'{precision}_match'] = _summarize_match(
        embeddings, pair_set, float_scores
      )
  return results, cosines


def on_people(
  predicts: Mapping[str, Predict], source, **settings
) -> dict[str, SearchResult]:
  """`search_people` by each precision, with the same settings."""
  found = {}
  for precision, predict in predicts.items():
    progress.note(
      f'identifying {len(source.class_names)} people by {precision}'
    )
    found[precision] = identification_rates.search_people(
      predict, source, **settings
    )
  return found


def on_templates(
  predicts: Mapping[str, Predict], template_set: TemplateSet, **settings
) -> tuple[Results, dict[str, np.ndarray]]:
  """`templates.score` by each precision: figures, and scores float64 [P]."""
  results, scores = {}, {}
  for precision, predict in predicts.items():
    progress.note(
      f'evaluating {precision} on {len(template_set.images)} images of '
      f'{template_set.name}'
    )
    scores[precision] = templates.score(predict, template_set, **settings)
    results[precision] = dict(
      templates.summarize(scores[precision], template_set)
    )
  return results, scores


def _summarize(
  scores: np.ndarray, pair_set: PairSet, float_scores: np.ndarray | None
) -> Iterator[tuple[str, float]]:
  """The figures, and where people are known their intervals."""
  same = np.asarray(pair_set.same, bool)
  yield from verification.summarize(scores, same, pair_set.fold)
  if pair_set.people is not None:
    fars = [
      far
      for far in verification.FARS
      if verification.is_supported(far, np.sum(~same))
    ]
    columns = same, pair_set.fold, pair_set.people
    yield from intervals.of_pairs(scores, *columns, fars)
    if float_scores is not None and verification.has_folds(pair_set.fold):
      one, other = (
        influence.accuracy(each, *columns) for each in (float_scores, scores)
      )
      low, high = intervals.of_difference(one, other)
      yield 'low/difference', low
      yield 'high/difference', high


def _summarize_nearness(
  embeddings: np.ndarray, float_embeddings: np.ndarray
) -> dict[str, float]:
  """How near embeddings [M, D] are to the float ones of the same images."""
  cosines = verification.cosine(embeddings, float_embeddings)
  return {
    'cosine_mean': float(np.mean(cosines)),
    'cosine_p1': float(np.percentile(cosines, 1)),
  }


def _summarize_match(
  embeddings: verification.PairEmbeddings,
  pair_set: PairSet,
  float_scores: np.ndarray | None,
) -> dict[str, float]:
  """The figures where the pairs are compared in integers.

  The threshold, if there is one, is given twice: as a cosine, and in the unit
  of a device's integer scores.
  """
  scores = np.asarray(matching.cosine(embeddings.first, embeddings.second))
  results = dict(_summarize(scores, pair_set, float_scores))
  if 'threshold' in results:
    threshold = results['threshold']
    results['threshold'] = threshold / matching.ONE
    results['threshold_q29'] = round(threshold)
  return results
