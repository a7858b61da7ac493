"""Measures how often the intervals over people cover the true value.

  python -m benchmarks.interval_coverage --pairs=LFW/pairs.txt

Draws people and all their scores many times. A score is a sum of effects of the
two people, of that couple of people, of the two images and of chance. Few
people are hard to recognise (an exponential effect). The true value of a figure
is its mean over all trials.

The designs are those of drawn faces, of LFW's View 2 (its own list with
--pairs, else one of its shape) and of 10,000 pairs. Rank-1 is that of galleries
with one image a person.

Prints a Markdown table for networks of three accuracies: how often, in per
cent, a 95 % interval covered the true value; and in brackets the true value,
half the mean width, and the mean distance of the middle of the intervals from
it, in points. 400 trials leave a coverage of 95 % uncertain by 1.1 %. The last
line is the variance that the choice of thresholds adds in the limit of many
pairs (influence.SELECTION).
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks import page_tables
from faceqat import command
from faceqat.data.benchmarks import pairs
from faceqat.evaluators import influence, intervals, verification

# Between same and different pairs, for accuracies of 90, 97 and 99.4 %.
_SEPARATIONS = (2.6, 3.9, 5.3)
# Noise of a near network, as the integer form of a float one, and of one that
# is trained anew.
_NEAR, _OTHER = 0.05, 0.4
_FARS = (0.1, 0.01)
# People, and images of each with the gallery's.
_GALLERIES = ((40, 10), (300, 4))


class Design(NamedTuple):
  """P pairs of n people: `people` and `images` are [P, 2]."""

  people: np.ndarray
  images: np.ndarray
  same: np.ndarray
  fold: np.ndarray


class _People:
  """A source without images."""

  def __init__(self, num_people: int, images_per_person: int):
    self.labels = np.repeat(np.arange(num_people), images_per_person)
    self.class_names = [str(person) for person in range(num_people)]


def drawn_design(num_pairs: int, num_people: int) -> Design:
  """The design of drawn faces, ten images a person."""
  found = pairs.synthetic_pairs(_People(num_people, 10), num_pairs, seed=0)
  images = np.stack([found.first, found.second], axis=1)
  return Design(found.people, images, found.same, found.fold)


def lfw_design(path: str | None) -> Design:
  """View 2 of LFW from its pairs.txt, or a list of the same shape."""
  fold = np.repeat(np.arange(10), 600)
  same = np.tile(np.repeat([True, False], 300), 10)
  if path:
    lines = pathlib.Path(path).read_text().splitlines()[1:]
    fields = [line.split() for line in lines if line.strip()]
    # A name and two numbers, or a name and a number twice.
    fields = [f if len(f) == 4 else [*f[:2], f[0], f[2]] for f in fields]
    names = np.array(fields)[:, [0, 2]]
    numbers = np.array(fields)[:, [1, 3]].astype(int)
    _, people = np.unique(names, return_inverse=True)
    people = people.reshape(-1, 2)
    assert np.array_equal(people[:, 0] == people[:, 1], same), path
  else:
    # 428 people a fold, 153 of whom are in same pairs.
    rng = np.random.default_rng(0)
    first = np.where(
      same, rng.integers(195, size=6000), rng.integers(428, size=6000)
    )
    others = (first + rng.integers(1, 428, size=6000)) % 428
    people = np.stack([first, np.where(same, first, others)], axis=1)
    people += 428 * fold[:, None]
    numbers = rng.integers(6, size=(6000, 2))
  _, images = np.unique(1000 * people + numbers, return_inverse=True)
  return Design(people, images.reshape(-1, 2), same, fold)


def draw_scores(
  design: Design, separation: float, rng: np.random.Generator
) -> Iterator[np.ndarray]:
  """Scores of a network, of one near to it, and of another one, [P] each."""
  people, images, same, _ = design
  first, second = np.sort(people, axis=1).T
  count = people.max() + 1
  _, couple = np.unique(first * count + second, return_inverse=True)

  def of_images():
    return rng.normal(size=images.max() + 1)[images].sum(axis=1)

  # Lambs, who resemble many, are a bit harder to recognise, too.
  lamb = rng.normal(size=count)
  hard = rng.exponential(size=count) - 1
  quality = of_images()
  chance = rng.normal(size=len(same))
  genuine = separation - 0.45 * hard[first] - 0.22 * lamb[first]
  genuine += 0.39 * quality + 0.67 * chance
  impostor = 0.32 * (lamb[first] + lamb[second]) + 0.22 * quality
  impostor += 0.55 * rng.normal(size=couple.max() + 1)[couple] + 0.63 * chance
  scores = np.where(same, genuine, impostor)
  yield scores
  for noise in (_NEAR, _OTHER):
    of_people = rng.normal(size=count)[people].sum(axis=1)
    own = (
      0.32 * of_people + 0.45 * of_images() + 0.63 * rng.normal(size=len(same))
    )
    yield scores + noise * own


def verification_figures(
  design: Design, scores: Sequence[np.ndarray]
) -> Iterator[tuple[str, float, tuple[float, float]]]:
  """Names, estimates and intervals of one trial.

  Args:
    design: P pairs.
    scores: [P] of three networks, as `draw_scores` gives them.
  """
  people, _, same, fold = design
  first, *others = (
    influence.accuracy(network, same, fold, people) for network in scores
  )
  yield 'accuracy', first.value, intervals.of_share(first)
  for far in _FARS:
    if verification.is_supported(far, np.sum(~same)):
      tar = influence.true_accept_rate(scores[0], same, far, people)
      yield f'TAR at FAR {far:g}', tar.value, intervals.of_share(tar)
  eer = influence.equal_error_rate(scores[0], same, people)
  yield 'EER', eer.value, intervals.of_share(eer)
  for name, other in zip(('near', 'other'), others):
    interval = intervals.of_difference(first, other)
    yield f'difference, {name} network', other.value - first.value, interval


def draw_answers(
  num_people: int,
  images_per_person: int,
  separation: float,
  rng: np.random.Generator,
) -> influence.Share:
  """Rank-1 of everybody's other images in a gallery of their first ones."""
  shape = num_people, images_per_person
  lamb = rng.normal(size=num_people)
  hard = rng.exponential(size=num_people) - 1
  quality = rng.normal(size=shape)
  couple = np.triu(rng.normal(size=(num_people, num_people)), 1)
  couple += couple.T
  scores = 0.32 * (lamb[:, None] + lamb) + 0.55 * couple
  chance = rng.standard_normal((num_people, images_per_person - 1, num_people))
  # [person of the probe, probe, person of the gallery]
  scores = scores[:, None] + 0.63 * chance
  scores += 0.22 * (quality[:, 1:, None] + quality[:, 0])
  mates = np.arange(num_people)
  own = separation - (0.45 * hard + 0.22 * lamb)[:, None]
  own = own + 0.39 * (quality[:, 1:] + quality[:, :1])
  own += 0.67 * rng.normal(size=own.shape)
  scores[mates, :, mates] = -np.inf
  ranks = 1 + np.sum(scores >= own[..., None], axis=2)
  return influence.first_answers(
    ranks.ravel(),
    np.repeat(mates, images_per_person - 1),
    scores.argmax(axis=2).ravel(),
  )


def selection_limit(trials: int, rng: np.random.Generator) -> float:
  """The variance that choosing the thresholds of ten folds adds, in the limit.

  Near the best threshold 0 and in suitable units, the number of right decisions
  of all pairs at a threshold t is a Brownian motion W(t) less t^2, of which
  each fold has a tenth (Kim and Pollard 1990). Half of the decisions that
  change between 0 and t were right, so the number of right ones at 0 has a
  covariance of -|t| / 2 with W(t).

  Returns:
    The variance over the mean squared gap, which is the highest value of all
    folds less the sum of theirs at the thresholds that the others choose.
  """
  folds, reach, step = 10, 2.5, 0.01
  t = np.arange(-reach, reach + step / 2, step)
  side = np.sign(t[:-1] + step / 2)
  centre = len(t) // 2
  sums, gaps, at_zero = [], [], []
  for _ in range(trials):
    steps = rng.normal(scale=np.sqrt(step / folds), size=(folds, len(t) - 1))
    motions = np.pad(np.cumsum(steps, axis=1), [(0, 0), (1, 0)])
    motions -= motions[:, centre, None]
    values = motions - t**2 / folds
    total = values.sum(axis=0)
    chosen = np.argmax(total - values, axis=1)
    sums.append(values[np.arange(folds), chosen].sum())
    gaps.append(total.max() - sums[-1])
    at_zero.append(-0.5 * np.sum(steps * side))
  added = np.var(sums) + 2 * np.cov(sums, at_zero, ddof=0)[0, 1]
  return float(added / np.mean(np.square(gaps)))


def coverage(estimates: np.ndarray, limits: np.ndarray) -> str:
  """The cell of the table for estimates [T] and limits [T, 2]."""
  true = estimates.mean()
  low, high = limits.T
  held = 100 * np.mean((low <= true) & (true <= high))
  half, shift = 50 * np.mean(high - low), 100 * np.mean((low + high) / 2 - true)
  return f'{held:.1f} ({100 * true:.2f} ± {half:.2f}, {shift:+.2f})'


def _print_rows(title: str, trials: Iterator[Iterator[list[tuple]]]):
  """Prints a row for each figure of a design.

  Args:
    title: of the design.
    trials: by separation and trial, names with estimates and limits.
  """
  rows: dict[str, list[str]] = {}
  for column in trials:
    for figure in zip(*column):
      names, estimates, limits = zip(*figure)
      cell = coverage(np.array(estimates), np.array(limits))
      rows.setdefault(names[0], []).append(cell)
  for name, cells in rows.items():
    page_tables.print_row([title, name, *cells])


def define_flags():
  flags.DEFINE_integer('trials', 400, 'Drawings of people.', lower_bound=1)
  flags.DEFINE_string('pairs', None, "LFW's pairs.txt.")


def main():
  args = flags.FLAGS
  designs = {
    '600 pairs of 60 people': drawn_design(600, 60),
    '6,000 pairs of 300 people': drawn_design(6000, 300),
    "LFW's View 2": lfw_design(args.pairs),
    '10,000 pairs of 500 people': drawn_design(10_000, 500),
  }
  page_tables.print_titles(
    ('design', 'figure', 'hard faces', 'middling', 'easy')
  )
  rng = np.random.default_rng(0)

  def compare_pairs(design, separation):
    for _ in range(args.trials):
      scores = list(draw_scores(design, separation, rng))
      yield list(verification_figures(design, scores))

  def search_gallery(size, separation):
    for _ in range(args.trials):
      figure = draw_answers(*size, separation, rng)
      yield [('rank-1', figure.value, intervals.of_share(figure))]

  for title, design in designs.items():
    _print_rows(title, (compare_pairs(design, x) for x in _SEPARATIONS))
  for size in _GALLERIES:
    title = '{} people, {} images of each'.format(*size)
    _print_rows(title, (search_gallery(size, x) for x in _SEPARATIONS))
  added = selection_limit(20 * args.trials, rng)
  print(
    f'The choice of thresholds adds {added:.2f} squared gaps; '
    f'{influence.SELECTION} are used.'
  )


if __name__ == '__main__':
  define_flags()
  command.run(main)
