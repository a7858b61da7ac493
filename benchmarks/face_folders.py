"""Embeddings of the faces of folders and lists of pairs, kept in a cache."""

import hashlib
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import verification
from faceqat.evaluators.verification import PairEmbeddings
from faceqat.faces import alignment, detection, images
from faceqat.faces.detection import Face
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
    folder: with a folder of images for each person; FOLDER/cel* takes those
      whose names begin so.
    people: at most.
    count: images of each, at most.
    skipped: so many of each are left for another set.
  """
  rng = np.random.default_rng(0)
  path = pathlib.Path(folder)
  path, pattern = (path.parent, path.name) if '*' in path.name else (path, '*')
  files = [
    sorted(person.iterdir())
    for person in sorted(path.glob(pattern))
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
  path = pathlib.Path(cache) / f'{name}_{key_of(digest, chosen)}.npz'
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


def embed_pairs(
  pair_set: PairSet, embedder: embedders.Embedder, digest: str, cache: str
) -> PairEmbeddings:
  """`verification.embed_pairs`, or its embeddings from a cache."""
  ends = np.stack([pair_set.first, pair_set.second])
  names = f'{digest} {hashlib.sha256(np.int64(ends).tobytes()).hexdigest()}'
  key = hashlib.sha256(names.encode()).hexdigest()[:16]
  path = pathlib.Path(cache) / f'{pair_set.name}_{key}.npz'
  if not path.is_file():
    embedded = verification.embed_pairs(embedder.predict, pair_set, BATCH_SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **embedded._asdict())
  with np.load(path) as arrays:
    return PairEmbeddings(**arrays)


def key_of(digest: str, chosen: list[tuple[int, pathlib.Path]]) -> str:
  """16 hex digits of a network and of the files that it embeds."""
  names = [f'{file.parent.name}/{file.name}' for _, file in chosen]
  text = f'{digest} {names}'
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def largest(faces: Sequence[Face]) -> Face:
  """The face with the largest box, of one at least."""
  return max(faces, key=lambda found: np.prod(found.box[2:]))


def make_grey() -> Callable[[np.ndarray], np.ndarray | None]:
  """From a crop to one of the form of the ORL faces; None: none is found."""
  detect = detection.make_detector()

  def change(image):
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, 10:102]
    photograph = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    faces = detect(photograph)
    if not faces:
      return None
    return alignment.align_points(photograph, largest(faces).landmarks)

  return change
