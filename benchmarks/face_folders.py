"""Embeddings of the faces of a folder person/image.jpg, kept in a cache."""

import hashlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from faceqat.evaluators import verification
from faceqat.faces import alignment, detection, images
from faceqat.identification import embedders

BATCH_SIZE = 32


class Faces(NamedTuple):
  """The templates [N, D] of the faces of a set, and their people, int [N]."""

  name: str
  templates: np.ndarray
  people: np.ndarray


def choose_files(
  folder: str, people: int, count: int, skipped: int = 0
) -> list[tuple[int, pathlib.Path]]:
  """The number of a person and a file, drawn, for `count` images of each.

  Args:
    folder: with a folder of images for each person.
    people: at most.
    count: images of each, at most.
    skipped: so many of each are left for another set.
  """
  rng = np.random.default_rng(0)
  files = [
    sorted(person.iterdir())
    for person in sorted(pathlib.Path(folder).iterdir())
    if person.is_dir()
  ]
  orders = [rng.permutation(len(each)) for each in files]
  chosen = range(len(files))
  if len(files) > people:
    chosen = sorted(rng.permutation(len(files))[:people])
  return [
    (int(number), files[number][i])
    for number in chosen
    for i in orders[number][skipped : skipped + count]
  ]


def read_faces(
  name: str,
  chosen: list[tuple[int, pathlib.Path]],
  embedder: embedders.Embedder,
  digest: str,
  cache: str,
  change: Callable[[np.ndarray], np.ndarray | None] = lambda image: image,
) -> Faces:
  """Embeds faces, or reads their embeddings from a cache."""
  path = pathlib.Path(cache) / f'{name}_{_key(digest, chosen)}.npz'
  if not path.is_file():
    owners, crops = [], []
    for number, file in chosen:
      crop = change(images.read_image(file, embedder.image_size))
      if crop is not None:
        owners.append(number)
        crops.append(crop)
    templates = verification.embed(embedder.predict, crops, BATCH_SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, templates=templates, people=owners)
  with np.load(path) as arrays:
    return Faces(name, arrays['templates'], arrays['people'])


def _key(digest: str, chosen) -> str:
  names = [f'{file.parent.name}/{file.name}' for _, file in chosen]
  text = f'{digest} {names}'
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_grey() -> Callable[[np.ndarray], np.ndarray | None]:
  """From a crop to one of the form of the ORL faces; None: none is found."""
  detect = detection.make_detector()

  def change(image):
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, 10:102]
    photograph = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    faces = detect(photograph)
    if not faces:
      return None
    face = max(faces, key=lambda found: np.prod(found.box[2:]))
    return alignment.align_points(photograph, face.landmarks)

  return change
