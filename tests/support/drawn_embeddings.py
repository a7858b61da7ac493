"""Pairs of drawn embeddings, whose images nobody reads."""

import numpy as np

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators.verification import PairEmbeddings


def draw(people=True, spread=0.5, num_people=40, seed=0):
  """Pairs of embeddings, two of each person, and each with the next ones."""
  rng = np.random.default_rng(seed)
  labels = np.repeat(np.arange(num_people), 2)
  embeddings = rng.normal(size=(num_people, 8))[labels]
  embeddings += rng.normal(size=embeddings.shape) * spread
  first = np.arange(0, 2 * num_people, 2)
  others = [np.roll(first, -shift) for shift in range(1, num_people)]
  rows = np.stack(
    [np.tile(first, num_people), np.concatenate([first + 1, *others])]
  )
  return PairSet(
    name='DRAWN',
    images=embeddings,
    first=rows[0],
    second=rows[1],
    same=labels[rows[0]] == labels[rows[1]],
    fold=np.zeros(rows.shape[1], int),
    people=labels[rows].T if people else None,
    person_names=[f'person {i}' for i in range(num_people)] if people else None,
  ), PairEmbeddings(embeddings, rows)
