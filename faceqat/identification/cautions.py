"""What is said of images that may mislead an identification."""

import pathlib
from collections.abc import Sequence

import numpy as np

from faceqat.evaluators.rate_table import MatchTable
from faceqat.files.names import similar
from faceqat.identification.enrolment import Faces
from faceqat.identification.face_files import LeftOut
from faceqat.identification.gallery import Gallery
from faceqat.identification.inputs import Inputs

# Of many pictures, or people, that are there twice.
_MOST_NAMED = 5
# Two photographs of one person are less alike; one picture that was stored
# twice, as another file, is more so.
_SAME_PICTURE = 0.98
# Images compared with all at a time.
_BLOCK = 1024


def of_names(names: set[str | None]):
  """Prints names that may be one person's."""
  for group in similar(names - {None}):
    print(
      f'warning: {" and ".join(map(repr, group))} are taken for different '
      'people; if they are one, give the folders one name'
    )


def of_people(known: Gallery):
  """Prints pictures that are in a gallery under two names."""
  for one, other in known.shared_pictures()[:_MOST_NAMED]:
    print(
      f'warning: {known.images[one]} and {known.images[other]} are one '
      f'picture, in the gallery as {known.people[known.labels[one]]!r} and as '
      f'{known.people[known.labels[other]]!r}; remove the wrong one'
    )


def of_likeness(known: Gallery, table: MatchTable | None):
  """Prints who may be in a gallery twice, as one person or as one picture.

  Without false-match rates nothing says how alike two people are.
  """
  if table is None or len(known.images) < 2:
    return
  threshold = table.rows[-1].threshold
  pairs = sorted(_alike(known, min(threshold, _SAME_PICTURE)), reverse=True)
  people = [
    x
    for x in pairs
    if known.labels[x[1]] != known.labels[x[2]] and x[0] >= threshold
  ]
  chance = table.rows[-1].false_matches.value * _pairs_of_people(known)
  for score, one, other in people[:_MOST_NAMED]:
    print(
      f'warning: {known.people[known.labels[one]]!r} and '
      f'{known.people[known.labels[other]]!r} may be one person: '
      f'{known.images[one]} and {known.images[other]} have a score of '
      f'{score:.3f}; about {chance:.2g} pairs of different people in this '
      f'gallery reach {threshold:.3f} by chance'
    )
  if len(people) > _MOST_NAMED:
    print(f'... and {len(people) - _MOST_NAMED:,} more such pairs')
  same = [
    x
    for x in pairs
    if known.labels[x[1]] == known.labels[x[2]] and x[0] >= _SAME_PICTURE
  ]
  if same:
    score, one, other = same[0]
    print(
      f'note: {known.images[one]} and {known.images[other]} are nearly one '
      f'picture (score {score:.3f}; {len(same):,} such pairs in the gallery): '
      'the second one adds nothing'
    )


def _alike(known: Gallery, threshold: float) -> list[tuple[float, int, int]]:
  """Scores and rows of the pairs of images that reach a threshold."""
  unit = known.templates.astype(np.float32)
  unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
  found = []
  for start in range(0, len(unit), _BLOCK):
    scores = unit[start : start + _BLOCK] @ unit.T
    for one, other in zip(*np.nonzero(scores >= threshold)):
      if start + one < other:
        score = float(scores[one, other])
        found.append((score, int(start + one), int(other)))
  return found


def _pairs_of_people(known: Gallery) -> int:
  """How many pairs of images show two people."""
  sizes = np.bincount(known.labels)
  return (len(known.labels) ** 2 - int(np.sum(sizes**2))) // 2


def of_faces(ambiguous: list[pathlib.Path], what_of_one: str):
  """Names the first photograph that shows several people."""
  # They are read again for a contact sheet.
  photographs = list(dict.fromkeys(ambiguous))
  if photographs:
    print(
      f'warning: in {photographs[0]} there are several faces of similar size '
      f'(in {len(photographs):,} photographs in all): one was {what_of_one}'
    )


def of_images(known: Gallery, faces: Faces):
  """Says how many probes are images of the gallery."""
  same = shared_images(known, faces)
  if same:
    print(
      f'warning: {len(same):,} of {len(faces.names):,} probes are images of '
      f'the gallery, the first one {same[0]}: they find themselves'
    )


def of_unusable(inputs: Inputs):
  """Names the first photograph of a gallery that shows too little of a face."""
  found = [
    (entry.name, reason)
    for entry in inputs.enrolled
    for reason in inputs.not_usable.get(entry.path, ())[:1]
    if reason
  ]
  if found:
    name, reason = found[0]
    print(
      f'warning: the face in {name} is not usable: {reason} ({len(found):,} '
      'such images in the gallery): others may be taken for that person; give '
      'a better image'
    )


def reasons(inputs: Inputs, faces: Faces, least_norm: float) -> list[str]:
  """Why each face is not usable, '' where it is."""
  norms = np.linalg.norm(faces.templates.astype(float), axis=1)
  found = []
  for (path, number), norm in zip(faces.places, norms):
    # Of crops nothing was measured.
    reason = inputs.not_usable.get(path, {number: ''})[number]
    if not reason and norm < least_norm:
      reason = (
        f'the network sees too little in it (length {norm:.4g}, wanted '
        f'{least_norm:.4g})'
      )
    found.append(reason)
  return found


def first_reason(left_out: Sequence[LeftOut], otherwise: str) -> str:
  """Why nothing is left, by the first image that was left out."""
  if not left_out:
    return otherwise
  return (
    f'{len(left_out):,} were left out, the first one as {left_out[0].reason}'
  )


def shared_images(known: Gallery, faces: Faces) -> list[str]:
  """The names of faces whose pixels a gallery has."""
  there = {digest.tobytes() for digest in known.digests}
  return [
    name
    for name, digest in zip(faces.names, faces.digests)
    if digest.tobytes() in there
  ]
