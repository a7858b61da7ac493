"""A gallery of people, in the files that `identify` reads and writes."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from faceqat.api import arguments
from faceqat.api.loading import Model, Path
from faceqat.faces import fingerprint as fingerprints
from faceqat.identification import enrolment, face_files, retrieval
from faceqat.identification import gallery as galleries
from faceqat.identification.embedders import Embedder
from faceqat.identification.face_files import LeftOut
from faceqat.identification.gallery import Maker

# Images in one call of the network.
_BATCH_SIZE = 8


class Match(NamedTuple):
  """A person who looks like a probe.

  Attributes:
    person: their name.
    score: the cosine of the probe and of the person's most similar image.
    image: the name of that image.
  """

  person: str
  score: float
  image: str


class Gallery:
  """Templates of people, made by one network.

  >>> import faceqat
  >>> model = faceqat.load('program.safetensors')
  >>> people = Gallery.enrol(model, 'people')
  >>> people
  <faceqat.Gallery of 3 people, 9 images>
  >>> (face,) = model.detect('photograph.jpg')
  >>> (matches,) = people.search(model.embed([face.crop]), k=3)
  >>> [match.person for match in matches[:2]]
  ['person_000001', 'person_000002']

  Attributes:
    left_out: images that were not enrolled, and why.
  """

  def __init__(
    self, stored: galleries.Gallery, left_out: Sequence[LeftOut] = ()
  ):
    self.stored = stored
    self.left_out = tuple(left_out)

  @classmethod
  def enrol(
    cls,
    model: Model,
    folder: Path,
    *,
    aligned: bool = False,
    int8: bool = False,
  ) -> Self:
    """Enrols the people of a folder `person/photograph.jpg`.

    Of several faces in a photograph the largest is taken; where another is
    nearly as large (`faces.choice.is_ambiguous`) the photograph is left out.

    Args:
      model: the network.
      folder: with a folder of images for each person.
      aligned: the images are faces of `model.image_size`, and no photographs.
      int8: keep one byte a number; scores move by about 0.001.

    Raises:
      ValueError: there is no such model or folder, nobody in it can be
        enrolled, or its faces are aligned otherwise than the network's.
    """
    if not isinstance(model, Model):
      raise ValueError(
        f'the model is of type {type(model).__name__}, wanted what '
        "faceqat.load gives: Gallery.enrol(model, 'people/')"
      )
    embedder = model.embedder
    faces = embedder.fingerprint
    if aligned:
      found = fingerprints.read(folder)
      fingerprints.check(found, faces, os.fspath(folder), model.name)
      faces = faces or found
    size, stored = embedder.image_size, embedder.stored_size
    if aligned:
      reader = face_files.make_crop_reader(size, stored)
    else:
      reader = _make_photograph_reader(embedder)
    entries, left_out = face_files.list_people(folder, reader)
    # First: a network that compiles on its first images is ready for few.
    maker = Maker(embedder.precision, model.digest, faces)
    read = enrolment.embed_faces(
      embedder, entries, None, min(_BATCH_SIZE, max(len(entries), 1)), left_out
    )
    if not read.names:
      reason = read.left_out[0].reason if read.left_out else 'no image'
      raise ValueError(
        f'{os.fspath(folder)} has nobody to enrol ({reason}): give a folder '
        'with a folder of photographs for each person'
      )
    integer = embedder.precision == 'integer'
    empty = galleries.empty(read.templates.shape[1], integer, int8, maker)
    people = [person for person in read.people if person is not None]
    grown, _ = empty.grown(read.templates, people, read.names, read.digests)
    return cls(grown, read.left_out)

  @classmethod
  def load(cls, path: Path, model: Model | None = None) -> Self:
    """Reads a gallery that `save` or `faceqat.identify` wrote.

    Args:
      path: the file.
      model: the network that is to search it.

    Raises:
      ValueError: the file is no gallery or damaged, or another network made it.
    """
    if os.path.isdir(path):
      raise ValueError(
        f'{os.fspath(path)} is a folder; use Gallery.enrol to enrol its people'
      )
    stored = galleries.load(path)
    if model is not None:
      embedder = model.embedder
      maker = Maker(embedder.precision, model.digest, embedder.fingerprint)
      galleries.check_maker(stored, maker, os.fspath(path))
    return cls(stored)

  def save(self, path: Path) -> None:
    """Writes one file, which `faceqat.identify --gallery` takes too."""
    galleries.save(self.stored, path)

  @property
  def people(self) -> tuple[str, ...]:
    """Everybody's name."""
    return self.stored.people

  @property
  def images(self) -> tuple[str, ...]:
    """The name of each image, person/image.jpg."""
    return self.stored.images

  def __len__(self) -> int:
    return len(self.stored.images)

  def __repr__(self) -> str:
    return (
      f'<faceqat.Gallery of {len(self.people):,} people, {len(self):,} images>'
    )

  @functools.cached_property
  def _index(self) -> retrieval.Index:
    return retrieval.Index(self.stored.templates, self.stored.labels)

  def search(
    self, embeddings: npt.NDArray[np.generic], k: int = 5
  ) -> list[list[Match]]:
    """Finds the people who look most like each probe.

    Args:
      embeddings: [P, D] of the network that made the gallery, as `Model.embed`
        gives them.
      k: so many people, or all where there are fewer.

    Returns:
      For each probe its matches, the nearest first; `Model.threshold` says
      which of them to believe.

    Raises:
      ValueError: embeddings of another size or type, or k is no whole number
        from 1.
    """
    stored = self.stored
    size = stored.templates.shape[1]
    arguments.check_embeddings(embeddings, size, integer=stored.integer)
    arguments.check_count(k, 'k')
    if not len(embeddings):
      return []
    found = self._index.find_people(
      stored.as_stored(embeddings), min(k, len(self.people))
    )
    return [
      [
        Match(self.people[label], float(score), self.images[row])
        for label, score, row in zip(*columns)
      ]
      for columns in zip(found.people, found.cosines, found.rows)
    ]


def _make_photograph_reader(embedder: Embedder) -> face_files.Reader:
  """Reads the largest face, and refuses a photograph where it is not clear."""
  ambiguous: list[pathlib.Path] = []
  read = face_files.make_photograph_reader(
    embedder.template,
    'largest',
    embedder.image_size,
    embedder.stored_size,
    bgr=embedder.is_bgr,
    ambiguous=ambiguous,
  )

  def read_clear(path: pathlib.Path) -> list[np.ndarray]:
    crops = read(path)
    if ambiguous:
      raise ValueError(
        f'{ambiguous.pop().name} shows several faces of similar size: crop it '
        'to one of them'
      )
    return crops

  return read_clear
