"""The answers to probes, and what shows them: a table, a contact sheet."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from faceqat.identification.face_files import LeftOut
from faceqat.identification.gallery import Gallery
from faceqat.identification.retrieval import Matches, as_cosine
from faceqat.report import contact_sheet
from faceqat.report.contact_sheet import Tile
from faceqat.report.table import Table

# Who is not accepted; no person of a gallery may be called so.
UNKNOWN = 'unknown'
# So many are printed; files hold all of them.
_SHOWN_PROBES = 10
_SHOWN_LEFT_OUT = 5

Picture = Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
  """Who the probes are said to be, and who they are.

  Attributes:
    probes: P names of images.
    truth: P names of people; None where nothing says.
    people: the gallery's, by label.
    images: the gallery's, by row.
    matches: of the probes.
    threshold: the score that a match has to reach, or None; an array has one
      for each row of the gallery.
    prototypes: the rows of the matches are labels.
    not_usable: P reasons why a face cannot be recognised, '' where it can;
      empty where none was looked at.
  """

  probes: Sequence[str]
  truth: Sequence[str | None]
  people: Sequence[str]
  images: Sequence[str]
  matches: Matches
  threshold: float | int | np.ndarray | None
  prototypes: bool
  not_usable: Sequence[str] = ()

  def person(self, p: int, rank: int) -> str:
    """The name that a probe is given, `rank` counting from 0."""
    return self.people[self.matches.people[p, rank]]

  def image(self, p: int, rank: int) -> str:
    """The gallery's image that matched; '' for a prototype."""
    return '' if self.prototypes else self.images[self.matches.rows[p, rank]]

  @functools.cached_property
  def accepted(self) -> np.ndarray:
    """bool [P, k], which matches reach the threshold; all without one.

    Of a face that is not usable none.
    """
    least = -np.inf if self.threshold is None else self.threshold
    if isinstance(least, np.ndarray):
      least = least[self.matches.rows]
    return (self.matches.scores >= least) & ~self.refused[:, np.newaxis]

  @property
  def middle_threshold(self) -> float:
    """The cosine to reach, of an image of the gallery in the middle."""
    return float(np.median(as_cosine(self.threshold)))

  @functools.cached_property
  def refused(self) -> np.ndarray:
    """bool [P], whose face is not usable."""
    if not self.not_usable:
      return np.zeros(len(self.probes), bool)
    return np.array([reason != '' for reason in self.not_usable], bool)

  @functools.cached_property
  def margins(self) -> np.ndarray:
    """float64 [P], how far the nearest person is before the second one."""
    cosines = self.matches.cosines
    if cosines.shape[1] < 2:
      return np.full(len(cosines), np.nan)
    return cosines[:, 0] - cosines[:, 1]

  def why_unknown(self, p: int) -> str:
    """What is said of a probe that is given no name."""
    refused = self.refused[p]
    return f'not usable: {self.not_usable[p]}' if refused else UNKNOWN

  @functools.cached_property
  def mates(self) -> np.ndarray:
    """bool [P], whose person the gallery has."""
    known = set(self.people)
    return np.array([name in known for name in self.truth], bool)

  @functools.cached_property
  def strangers(self) -> np.ndarray:
    """bool [P], whose person has a name that the gallery does not have."""
    named = np.array([name is not None for name in self.truth], bool)
    return named & ~self.mates

  @functools.cached_property
  def hits(self) -> np.ndarray:
    """bool [P, k], the right person."""
    names = np.array(self.people, object)[self.matches.people]
    return names == np.array(self.truth, object)[:, None]

  def verdict(self, p: int) -> tuple[str, str]:
    """A mark of `contact_sheet.MARKS`, and what it means."""
    accepted = self.accepted[p, 0]
    if self.refused[p]:
      return UNKNOWN, f'not usable: {self.not_usable[p]}'
    if self.truth[p] is None:
      return ('', 'probe') if accepted else (UNKNOWN, UNKNOWN)
    if self.mates[p] and not accepted:
      return UNKNOWN, 'missed'
    if self.strangers[p]:
      return ('wrong', 'not in the gallery') if accepted else ('right', UNKNOWN)
    return ('right', 'right') if self.hits[p, 0] else ('wrong', 'wrong')


def summarize(answers: Answers) -> dict[str, float]:
  """Shares of right answers, as fractions.

  Returns:
    `top1` and `top<k>`, of the probes whose person the gallery has, whatever
    the threshold. With a threshold, `accepted`, of all probes; `tpir`, of
    those in the gallery the share that is accepted under the right name; and
    `fpir`, of those who are not in it, the share that is given a name. Where
    faces are not usable, `refused`, of all probes. Shares of no probes are left
    out.
  """
  mates, hits, accepted = answers.mates, answers.hits, answers.accepted
  k = hits.shape[1]
  results = {}
  if mates.any():
    for rank in sorted({1, k}):
      results[f'top{rank}'] = float(np.mean(hits[mates, :rank].any(axis=1)))
  if answers.refused.any():
    results['refused'] = float(np.mean(answers.refused))
  if answers.threshold is not None:
    results['accepted'] = float(np.mean(accepted[:, 0]))
    if mates.any():
      results['tpir'] = float(np.mean((hits & accepted)[mates, 0]))
    if answers.strangers.any():
      results['fpir'] = float(np.mean(accepted[answers.strangers, 0]))
  return results


def show(answers: Answers, precision: str, gallery: Gallery) -> None:
  """Prints the first answers, and one table."""
  for p, probe in enumerate(answers.probes[:_SHOWN_PROBES]):
    found = ', '.join(
      f'{answers.person(p, k)} {cosine:.4f}'
      for k, cosine in enumerate(answers.matches.cosines[p])
    )
    named = answers.accepted[p, 0]
    print(f'{probe}: {"" if named else f"{answers.why_unknown(p)}; "}{found}')
  if len(answers.probes) > _SHOWN_PROBES:
    print(f'... and {len(answers.probes) - _SHOWN_PROBES:,} more')
  if not answers.mates.any():
    print(
      'no accuracy: below --probe there is no folder that is called like a '
      'person of the gallery'
    )
  means = f'{len(gallery.people):,} means of ' if answers.prototypes else ''
  titles = {
    'refused': 'not usable %',
    'accepted': 'accepted %',
    'tpir': 'TPIR %',
    'fpir': 'FPIR %',
  }
  row = {
    'precision': precision,
    'people': f'{len(gallery.people):,}',
    'templates': f'{means}{len(gallery.images):,}',
    'type': gallery.templates.dtype.name,
    'probes': f'{len(answers.probes):,}',
    'in gallery': f'{int(np.sum(answers.mates)):,}',
  }
  for name, value in summarize(answers).items():
    title = titles.get(name) or f'{name.replace("top", "top-")} %'
    row[title] = f'{100 * value:.2f}'
  if answers.threshold is not None:
    row['threshold'] = f'{answers.middle_threshold:.4f}'
  print(Table(list(row), [list(row.values())]))


def show_left_out(left_out: Sequence[LeftOut]) -> None:
  """Prints the first images that were not used."""
  for name, reason in left_out[:_SHOWN_LEFT_OUT]:
    print(f'left out: {reason if name in reason else f"{name}: {reason}"}')
  if len(left_out) > _SHOWN_LEFT_OUT:
    print(f'... and {len(left_out) - _SHOWN_LEFT_OUT:,} more')


def draw(
  answers: Answers,
  *,
  pictures: Sequence[Picture],
  gallery_pictures: Sequence[Picture | None],
  labels: np.ndarray,
  title: str,
  max_rows: int,
  path: pathlib.Path,
) -> None:
  """Draws the contact sheet; where not all probes fit, the wrong ones first.

  Args:
    answers: to P probes.
    pictures: P functions that read a probe's face.
    gallery_pictures: N functions that read the gallery's; None where a saved
      gallery has none.
    labels: int [N], the person of each image of the gallery.
    title: the beginning of the line above.
    max_rows: at most so many probes.
    path: file to write.
  """
  verdicts = [answers.verdict(p) for p in range(len(answers.probes))]
  title = f'{title}: {len(verdicts):,} probes'
  order = ['wrong', UNKNOWN, '', 'right']
  chosen = range(len(verdicts))
  if len(chosen) > max_rows:
    chosen = sorted(chosen, key=lambda p: order.index(verdicts[p][0]))
    title += f', {max_rows} shown, wrong ones first'
  if answers.threshold is not None:
    title += f'; threshold {answers.middle_threshold:.3f}'
  _, first_images = np.unique(labels, return_index=True)
  rows = []
  for p in chosen[:max_rows]:
    mark, meaning = verdicts[p]
    probe = Tile(pictures[p](), (meaning, answers.probes[p]), mark)
    matches = []
    for rank, row in enumerate(answers.matches.rows[p]):
      # Of a prototype the person's first image.
      read = gallery_pictures[first_images[row] if answers.prototypes else row]
      name = answers.person(p, rank)
      lines = name, _score(answers, p, rank)
      matches.append(Tile(read and read(), lines, _mark(answers, p, rank)))
    rows.append((probe, matches))
  contact_sheet.contact_sheet(rows, title, path)


def _score(answers: Answers, p: int, rank: int) -> str:
  below = '' if answers.accepted[p, rank] else ', below'
  return f'{answers.matches.cosines[p, rank]:.3f}{below}'


def _mark(answers: Answers, p: int, rank: int) -> str:
  """Who is the right one, and who was taken for them."""
  if answers.hits[p, rank]:
    return 'right'
  named = rank == 0 and answers.accepted[p, 0]
  return 'wrong' if named and answers.truth[p] is not None else ''
