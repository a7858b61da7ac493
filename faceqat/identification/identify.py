"""Identifies probes against a gallery of people, by cosine."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from faceqat.calibration import packaged_files
from faceqat.evaluators.rate_table import MatchTable
from faceqat.identification import (
  answers,
  cautions,
  embedders,
  enrolment,
  match_table,
  own_faces,
  predictions,
  retrieval,
  thresholds,
)
from faceqat.identification import gallery as galleries
from faceqat.identification.answers import Answers
from faceqat.identification.embedders import Embedder
from faceqat.identification.enrolment import Faces
from faceqat.identification.face_files import Entry, LeftOut
from faceqat.identification.gallery import Gallery, Maker
from faceqat.identification.inputs import (
  Inputs,
  check_paths,
  list_inputs,
  make_reader,
)
from faceqat.identification.retrieval import Matches
from faceqat.identification.settings import PathLike, Settings, check

# From images, and a word for them, to their faces.
Embed = Callable[[list[Entry], str], Faces]


class Outcome(NamedTuple):
  """The result of an identification.

  Attributes:
    answers: to the probes; None where there is only a gallery to make.
    gallery: of all people.
    precision: of the network, one of `evaluators.PRECISIONS`.
    left_out: images that were not used.
  """

  answers: Answers | None
  gallery: Gallery
  precision: str
  left_out: list[LeftOut]


class Known(NamedTuple):
  """A gallery; for each image what reads its face, if not from a saved one."""

  gallery: Gallery
  pictures: list[Callable[[], np.ndarray] | None]
  left_out: list[LeftOut]


def identify(
  model: PathLike,
  gallery: PathLike | None,
  probes: PathLike | None,
  settings: Settings,
) -> Outcome:
  """Says who is shown on images, as far as a gallery knows.

  Prints its progress and warnings, and writes `predictions.csv`,
  `predictions.txt`, `contact_sheet.png` and, where images could not be used,
  `left_out.csv` to `settings.out`.

  Args:
    model: the folder of a run, a program file, or an exported file.
    gallery: a folder person/image.jpg, or a saved gallery; None with
      `settings.held_out`.
    probes: an image, or a folder of images or of people; None with
      `settings.held_out`, or where a gallery is only to be saved.
    settings: everything else.

  Raises:
    ValueError: settings that do not go together, a file or folder that is
      missing or damaged, another alignment than the network's, or no image
      that can be used.
  """
  check(gallery, probes, settings)
  check_paths(gallery, probes, settings)
  embedder = _load(model, settings)
  inputs = list_inputs(model, gallery, probes, settings, embedder)
  most = max(len(inputs.enrolled), len(inputs.probes or ()), 1)
  # One size of batch, for which the network is compiled once.
  batch_size = min(settings.batch_size, most)
  embed = functools.partial(
    enrolment.embed_faces, embedder, batch_size=batch_size
  )
  maker, table = None, embedder.table
  if inputs.saved or settings.save_gallery or table is None:
    digest = embedder.digest(batch_size)
    maker = Maker(embedder.precision, digest, inputs.fingerprint)
    table = table or _find_table(model, digest)
  saved = 0
  if inputs.saved:
    galleries.check_maker(inputs.saved, maker, gallery)
    saved = len(inputs.saved.images)
  templates = saved + len(inputs.enrolled)
  thresholds.check(table, templates, settings, inputs.strangers)
  known = _make_gallery(inputs, maker, settings.int8, embed)
  cautions.of_faces(inputs.ambiguous[0], 'enrolled; crop it to that person')
  cautions.of_unusable(inputs)
  cautions.of_likeness(known.gallery, table)
  people = known.gallery.people
  cautions.of_names({*people, *(entry.person for entry in inputs.probes or ())})
  if settings.save_gallery:
    _save(known.gallery, settings.save_gallery)
  left_out = [*inputs.left_out, *known.left_out]
  found = None
  if inputs.probes is not None:
    title = f'{model}, {embedder.precision}'
    found = _answer_probes(
      inputs, known, settings, table, embed, title, left_out
    )
  elif left_out:
    predictions.write_left_out(left_out, pathlib.Path(settings.out))
  return Outcome(found, known.gallery, embedder.precision, left_out)


def _find_table(model: PathLike, digest: str) -> MatchTable | None:
  table = match_table.find(digest)
  if table is None and model in packaged_files.NAMES:
    print(match_table.about_missing(model, digest))
  return table


def _load(model: PathLike, settings: Settings) -> Embedder:
  if settings.calibrate:
    own_faces.check(model, settings.calibrate)
  embedder = embedders.load(
    model, settings.precision, step=settings.step, contract=settings.contract
  )
  if settings.calibrate:
    from faceqat.calibration.packaged_network import load_packaged

    network = own_faces.calibrate(
      model,
      embedder.network or load_packaged(os.fspath(model)),
      settings.calibrate,
      make_reader(settings, embedder, 'largest'),
      aligned=not settings.photographs,
    )
    return embedders.of_network(network, embedder.precision, settings.contract)
  if not embedder.checked:
    print(
      f'{model} has no digest, as files of others and of earlier versions '
      'have none: it is not checked; python -m faceqat.convert writes one'
    )
  return embedder


def find_nearest(
  known: Gallery, faces: Faces, k: int, prototypes: bool
) -> Matches:
  """The k nearest people of every face; rows of `prototypes` are labels."""
  if prototypes:
    templates, labels = known.prototypes(), np.arange(len(known.people))
  else:
    templates, labels = known.templates, known.labels
  probes = known.as_stored(faces.templates)
  return retrieval.find_people(templates, labels, probes, k)


def _make_gallery(
  inputs: Inputs, maker: Maker | None, int8: bool, embed: Embed
) -> Known:
  """The saved gallery or a new one, with the images that are added."""
  faces = embed(inputs.enrolled, 'gallery')
  known = inputs.saved
  if known is None:
    if not faces.names:
      reasons = [*inputs.left_out, *faces.left_out]
      raise ValueError(
        'the gallery is empty: '
        + cautions.first_reason(
          reasons, 'there is no image in a folder of a person'
        )
      )
    size = faces.templates.shape[1]
    integer = np.issubdtype(faces.templates.dtype, np.integer)
    known = galleries.empty(size, integer, int8, maker)
  elif int8:
    known = known.to_int8()
  if faces.names:
    known, twice = known.grown(
      faces.templates, faces.people, faces.names, faces.digests
    )
    if twice:
      print(
        f'{len(twice):,} images are in the gallery already and not added '
        f'again, the first one {twice[0]}'
      )
  cautions.of_people(known)
  # By the pixels: an image that was there already has its picture again.
  of_digest = {d.tobytes(): p for d, p in zip(faces.digests, faces.pictures)}
  pictures = [of_digest.get(digest.tobytes()) for digest in known.digests]
  return Known(known, pictures, faces.left_out)


def _save(gallery: Gallery, path: PathLike):
  galleries.save(gallery, path)
  print(
    f'gallery saved: {path}, {len(gallery.images):,} images of '
    f'{len(gallery.people):,} people, {pathlib.Path(path).stat().st_size:,} '
    'bytes'
  )


def _answer_probes(
  inputs: Inputs,
  known: Known,
  settings: Settings,
  table: MatchTable | None,
  embed: Embed,
  title: str,
  left_out: list[LeftOut],
) -> Answers:
  """Answers the probes and writes files; adds to `left_out`."""
  gallery = known.gallery
  if inputs.strangers is None:
    threshold = thresholds.of_table(table, gallery, settings)
    if threshold is not None:
      threshold = retrieval.as_score(threshold, gallery.integer)
  else:
    strangers = embed(inputs.strangers, 'calibration')
    left_out += strangers.left_out
    flag = f'--calibration={settings.calibration}'
    thresholds.check_strangers(gallery, strangers, flag)
    best = find_nearest(gallery, strangers, 1, settings.prototypes).scores
    threshold = thresholds.of_strangers(
      gallery, strangers, best[:, 0], table, settings
    )
  faces = embed(inputs.probes, 'probes')
  left_out += faces.left_out
  cautions.of_faces(inputs.ambiguous[1], 'asked for; --faces=all asks for each')
  if not faces.names:
    raise ValueError(
      'no probe can be used: '
      + cautions.first_reason(left_out, 'there is no image')
    )
  bar = settings.least_norm
  if bar is None:
    bar = table.least_norm if table else 0.0
  reasons = cautions.reasons(inputs, faces, bar)
  found = _answer(gallery, faces, threshold, settings, reasons)
  out = pathlib.Path(settings.out)
  predictions.write_left_out(left_out, out)
  predictions.write(found, out)
  answers.draw(
    found,
    pictures=faces.pictures,
    gallery_pictures=known.pictures,
    labels=gallery.labels,
    title=title,
    max_rows=settings.sheet_rows,
    path=out / 'contact_sheet.png',
  )
  return found


def _answer(
  gallery: Gallery,
  faces: Faces,
  threshold: float | int | np.ndarray | None,
  settings: Settings,
  not_usable: list[str],
) -> Answers:
  """Searches the gallery, and says where it is too small for the question."""
  cautions.of_images(gallery, faces)
  people = gallery.people
  if len(people) == 1 and threshold is None:
    print(
      f'warning: the gallery has one person, {people[0]}, who is everybody: '
      'top-1 says nothing; look at the scores, or give a threshold'
    )
  k = min(settings.k, len(people))
  if 1 < k < settings.k:
    print(f'the gallery has {k} people: the {k} nearest are all of them')
  return Answers(
    faces.names,
    faces.people,
    people,
    gallery.images,
    find_nearest(gallery, faces, k, settings.prototypes),
    threshold,
    settings.prototypes,
    not_usable,
  )
