"""How far a false-match rate goes astray on faces of another camera.

  python -m benchmarks.cameras --model=sface_int8 --cache=CACHE \
    --sets=LFW=LFW/images,CelebA=FACES/celeba_*,PINS=FACES/pins_*

Each source is a folder person/image.jpg of aligned faces, of which --images
(one number a source) of each of --people are drawn, in five forms: as they are;
in that of the ORL (AT&T) faces (92x112, grey, found and aligned anew); enlarged
from 40 pixels of width; JPEG of quality 15; a third as bright. Embeddings are
kept in --cache.

A rate is stated with limits that include how sets differ: at the threshold that
one source states as it is, the logits of the rates of the known sets have a
mean and a deviation, and a further set is expected within Student's t times the
deviation, times the root of 1 + 1 / sets, of the mean (the prediction interval
of a further draw; Geisser 1993, "Predictive Inference"). Each set is tried with
limits of those sets alone that share neither its source, and so no person, nor
its form. The modes:

  stated   the threshold as it is
  moved    moved and scaled as the scores of --strangers drawn people of the
           set are, one image of each, who are left out then
  z-norm   scores less their mean, by their deviation, against a cohort for one
           of the two images (t-norm is that for the other one: over all pairs
           the same); s-norm: the mean of both
  ... own  against the strangers in place of a cohort of the stating source

People are drawn --draws times. `inside` counts the cells (a set, a draw) whose
measured rate lies within the limits, `at most` those whose rate is not above
the upper one, and `exact` those whose own 95 % interval over people holds the
rate that is stated without limits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from absl import flags

from benchmarks import face_folders, page_tables, transfer
from benchmarks.face_folders import Faces
from faceqat import command
from faceqat.evaluators import intervals, normalised_scores
from faceqat.evaluators.match_rates import Rate
from faceqat.identification import embedders
from faceqat.report.results_tables import short_percent

_JPEG_QUALITY, _BRIGHTNESS, _WIDTH = 15, 1 / 3, 40
AS_IT_IS = 'as it is'


class Key(NamedTuple):
  """A set: faces of a source in a form."""

  source: str
  form: str


class Cell(NamedTuple):
  """A rate that was stated of a set, and what was measured of it.

  Attributes:
    mode: see above.
    key: of the set.
    stated: the rate without limits.
    limits: between which it should lie.
    measured: in the set.
  """

  mode: str
  key: Key
  stated: float
  limits: tuple[float, float]
  measured: Rate


def define_flags():
  flags.DEFINE_string('model', None, 'Run, program, exported file or name.')
  flags.DEFINE_list('sets', None, 'NAME=FOLDER of people, aligned.')
  flags.DEFINE_string('cache', 'cache', 'Folder for embeddings.')
  flags.DEFINE_integer('people', 500, 'Of each source, at most.')
  flags.DEFINE_list('images', ['1', '1', '4'], 'Of a person, by source.')
  flags.DEFINE_integer('strangers', 40, 'People to recalibrate on.')
  flags.DEFINE_integer('cohort', 80, 'People that scores are normalised by.')
  flags.DEFINE_integer('draws', 5, 'How often strangers are drawn.')
  flags.DEFINE_list('rates', ['0.1', '0.01', '0.001'], 'That are stated.')
  flags.mark_flags_as_required(['model', 'sets'])


def forms() -> dict[str, Callable[[np.ndarray], np.ndarray | None]]:
  """By name, from a crop to one of another camera; None: no face is found."""

  def jpeg(image):
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return cv2.imdecode(cv2.imencode('.jpg', image, quality)[1], 1)

  def small(image):
    size = (_WIDTH, _WIDTH * image.shape[0] // image.shape[1])
    image_size = image.shape[1::-1]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, image_size, interpolation=cv2.INTER_LINEAR)

  return {
    AS_IT_IS: lambda image: image,
    'grey': face_folders.make_grey(),
    'small': small,
    'jpeg': jpeg,
    'dark': lambda image: np.uint8(image * _BRIGHTNESS),
  }


class Parts(NamedTuple):
  """A set in three parts that share nobody.

  Attributes:
    faces: whose pairs are counted.
    strangers: templates [S, D], one of each person.
    cohort: templates [C, D], one of each person.
  """

  faces: Faces
  strangers: np.ndarray
  cohort: np.ndarray


def split(faces: Faces, strangers: int, cohort: int, seed: int = 0) -> Parts:
  """Draws so many people for the two smaller parts."""
  drawn = np.random.default_rng(seed).permutation(np.unique(faces.people))
  small = [drawn[:strangers], drawn[strangers : strangers + cohort]]
  rest = ~np.isin(faces.people, np.concatenate(small))
  return Parts(
    Faces(faces.name, faces.templates[rest], faces.people[rest]),
    *(_first_of_each(faces, chosen) for chosen in small),
  )


def _first_of_each(faces: Faces, people: np.ndarray) -> np.ndarray:
  rows = np.flatnonzero(np.isin(faces.people, people))
  _, first = np.unique(faces.people[rows], return_index=True)
  return faces.templates[rows[first]]


def scores_by_mode(parts: Parts, cohort: np.ndarray) -> dict[str, np.ndarray]:
  """The scores [N, N] of the faces of a set, by mode.

  Args:
    parts: of the set.
    cohort: templates [C, D] of another camera.
  """
  own, known = (
    transfer.unit(parts.faces.templates),
    transfer.unit(parts.strangers),
  )
  cosines = own @ own.T
  pairs = (known @ known.T)[np.triu_indices(len(known), 1)]
  found = {'stated': cosines, 'moved': (cosines - pairs.mean()) / pairs.std()}
  for name, others in (('', cohort), (' own', parts.strangers)):
    mean, spread = normalised_scores.statistics(parts.faces.templates, others)
    standard = (cosines - mean[:, np.newaxis]) / spread[:, np.newaxis]
    found[f'z-norm{name}'] = standard
    found[f's-norm{name}'] = (standard + standard.T) / 2
  return found


def known_to(key: Key, keys: Iterable[Key]) -> list[Key]:
  """The sets that share neither the source nor the form of one."""
  return [x for x in keys if x.source != key.source and x.form != key.form]


def run_cells(
  sets: Mapping[Key, Faces],
  rates: Sequence[float],
  strangers: int,
  cohort: int,
  seed: int = 0,
) -> list[Cell]:
  """Every mode for each rate and each set that is left out.

  The first source states the thresholds of all others; the second one those of
  the first.
  """
  first, second = list(dict.fromkeys(key.source for key in sets))[:2]
  parts = {
    key: split(
      faces, strangers, cohort if key.source in (first, second) else 0, seed
    )
    for key, faces in sets.items()
  }
  cells = []
  for stating in (first, second):
    found = measure(parts, Key(stating, AS_IT_IS), rates)
    for key in sets:
      if key.source == stating or (stating == second and key.source != first):
        continue
      for mode, rate in dict.fromkeys(x[1:] for x in found):
        known = [found[x, mode, rate] for x in known_to(key, sets)]
        limits = limits_of(known)
        cells.append(Cell(mode, key, rate, limits, found[key, mode, rate]))
  return cells


def limits_of(rates: Sequence[Rate]) -> tuple[float, float]:
  """Between which the rate of a further set is expected, at 95 %.

  >>> rates = [Rate(x, 0, 1, int(x * 1e6), 10**6) for x in (0.01, 0.02, 0.04)]
  >>> [round(limit, 4) for limit in limits_of(rates)]
  [0.0006, 0.409]
  """
  # Half a match more of either kind, so that a set without any has a logit.
  hits = np.array([rate.count + 0.5 for rate in rates])
  logits = np.log(hits / (np.array([rate.pairs + 1 for rate in rates]) - hits))
  spread = np.var(logits, ddof=1) * (1 + 1 / len(logits))
  ends = intervals.around(logits.mean(), spread, len(logits) - 1)
  low, high = 1 / (1 + np.exp(-np.array(ends)))
  return float(low), float(high)


def measure(
  parts: Mapping[Key, Parts], stating: Key, rates: Sequence[float]
) -> dict[tuple[Key, str, float], Rate]:
  """The rate of every set, mode and stated rate, where one set states it."""
  cohort = parts[stating].cohort
  scores = scores_by_mode(parts[stating], cohort)
  thresholds = {
    (mode, rate): transfer.threshold_for(
      transfer.impostors(table, parts[stating].faces.people), rate
    )
    for mode, table in scores.items()
    for rate in rates
  }
  found = {}
  for key, part in parts.items():
    for mode, table in scores_by_mode(part, cohort).items():
      for rate in rates:
        threshold = thresholds[mode, rate]
        if threshold is not None:
          found[key, mode, rate] = transfer.measured(
            table, part.faces.people, threshold
          )
  return found


def show(cells: Sequence[Cell]):
  """Prints how many cells hold, and those of the middle rate."""
  page_tables.print_titles(
    ('mode', 'stated %', 'cells', 'inside', 'at most', 'exact', 'limits %')
  )
  for mode, rate in dict.fromkeys((cell.mode, cell.stated) for cell in cells):
    some = [x for x in cells if (x.mode, x.stated) == (mode, rate)]
    middle = np.exp(np.mean(np.log([x.limits for x in some]), axis=0))
    page_tables.print_row(
      (
        mode,
        short_percent(rate),
        len(some),
        sum(x.limits[0] <= x.measured.value <= x.limits[1] for x in some),
        sum(x.measured.value <= x.limits[1] for x in some),
        sum(x.measured.low <= rate <= x.measured.high for x in some),
        ' to '.join(map(short_percent, middle)),
      )
    )
  print()
  show_sets(cells)


def show_sets(cells: Sequence[Cell]):
  """Prints the measured rates of every set at the rate in the middle."""
  stated = sorted({cell.stated for cell in cells})
  stated = stated[len(stated) // 2]
  modes = ('stated', 'moved', 'z-norm own')
  page_tables.print_titles(
    ('set', 'form', *(f'{x}, of {short_percent(stated)} %' for x in modes))
  )
  for key in dict.fromkeys(cell.key for cell in cells):
    row = []
    for mode in modes:
      found = [
        x.measured[:3]
        for x in cells
        if (x.key, x.mode, x.stated) == (key, mode, stated)
      ]
      # Means over the draws.
      value, low, high = map(short_percent, np.mean(found, axis=0))
      row.append(f'{value} [{low}, {high}]')
    page_tables.print_row((*key, *row))


def read_sets(args, embedder: embedders.Embedder) -> dict[Key, Faces]:
  """Embeds every form of every source, or reads their embeddings."""
  digest = embedder.digest(face_folders.BATCH_SIZE)
  sets = {}
  for each, count in zip(args.sets, args.images, strict=True):
    source, folder = each.split('=', 1)
    chosen = face_folders.choose_files(folder, args.people, int(count))
    for form, change in forms().items():
      key = Key(source, form)
      name = '_'.join(key).replace(' ', '_')
      sets[key] = face_folders.read_faces(
        name, chosen, embedder, digest, args.cache, change
      )
  return sets


def main():
  args = flags.FLAGS
  sets = read_sets(args, embedders.load(args.model))
  rates = list(map(float, args.rates))
  show(
    [
      cell
      for seed in range(args.draws)
      for cell in run_cells(sets, rates, args.strangers, args.cohort, seed)
    ]
  )


if __name__ == '__main__':
  define_flags()
  command.run(main)
