"""Embeds the images of folders, and writes what comes out to a file."""

import csv
import io
import itertools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faceqat.api.loading import Model, Path
from faceqat.faces import fingerprint as fingerprints
from faceqat.files import atomic
from faceqat.files.image_size import ImageSize
from faceqat.identification import face_files
from faceqat.identification.face_files import Entry, LeftOut
from faceqat.identification.predictions import as_cell
from faceqat.progress import track

# Faces in memory at once.
_CHUNK = 256


class EmbeddedFaces(NamedTuple):
  """N faces, in the order of their paths and names.

  Attributes:
    names: the path of each one's image, with #2, #3 behind it for further
      faces of one image.
    people: the folder in which it lies; '' where that is none of a person.
    vectors: [N, D], as `Model.embed` gives them.
    left_out: images that were not used, and why.
  """

  names: list[str]
  people: list[str]
  vectors: npt.NDArray[np.generic]
  left_out: list[LeftOut]


def embed_files(
  model: Model,
  paths: Sequence[Path],
  *,
  photographs: bool = False,
  faces: str = 'largest',
  mirrored: bool = False,
  stored_size: ImageSize | None = None,
) -> EmbeddedFaces:
  """Embeds images, and shows how far it is.

  Args:
    model: the network.
    paths: images, or folders of images or of folders of people.
    photographs: find and align the faces first; else they are aligned.
    faces: which of several in a photograph, one of `choice.CHOICES`.
    mirrored: as `Model.embed` has it.
    stored_size: of the crops; None: those of the network's training.

  Raises:
    ValueError: a path is missing, its faces are aligned otherwise than the
      network's, or there is no face that can be used.
  """
  network = model.embedder
  size = network.stored_size if stored_size is None else stored_size
  if photographs:
    reader = face_files.make_photograph_reader(
      network.template, faces, model.image_size, size, bgr=network.is_bgr
    )
  else:
    reader = face_files.make_crop_reader(model.image_size, size)
  entries: list[Entry] = []
  left_out: list[LeftOut] = []
  for path in map(pathlib.Path, paths):
    if not photographs:
      _check_alignment(model, path)
    listed, others = face_files.list_probes(path, reader)
    folder = path if path.is_dir() else path.parent
    entries += [e._replace(name=str(folder / e.name)) for e in listed]
    left_out += [o._replace(name=str(folder / o.name)) for o in others]
  names, people, parts = [], [], []
  shown = track(entries, 'embedded', len(entries))
  found = face_files.read_faces(shown, left_out)
  while chunk := list(itertools.islice(found, _CHUNK)):
    for entry, number, _ in chunk:
      names.append(f'{entry.name}#{number + 1}' if number else entry.name)
      people.append(entry.person or '')
    crops = [crop for *_, crop in chunk]
    parts.append(model.embed(crops, mirrored=mirrored))
  if not parts:
    reason = left_out[0].reason if left_out else 'there is no image'
    raise ValueError(
      f'no face of {", ".join(str(p) for p in paths)} can be used: {reason}'
    )
  return EmbeddedFaces(names, people, np.concatenate(parts), left_out)


def check_out(out: Path) -> None:
  """Refuses a file that could not be written, before the work is done.

  Raises:
    ValueError: another ending than .npy and .csv, or no folder.
  """
  out = pathlib.Path(out)
  if out.suffix not in ('.npy', '.csv'):
    raise ValueError(f'{out}: give a file to write that ends with .npy or .csv')
  if not out.parent.is_dir():
    raise ValueError(f'{out}: there is no folder {out.parent}; make it')
  if out.is_dir():
    raise ValueError(f'{out} is a folder; give a file to write')


def write(found: EmbeddedFaces, out: Path) -> None:
  """Writes the embeddings; each file appears whole or not at all.

  Args:
    found: the faces.
    out: `NAME.csv`; or `NAME.npy`, beside which `NAME.csv` names the rows.
  """
  out = pathlib.Path(out)
  rows = [[as_cell(n), as_cell(p)] for n, p in zip(found.names, found.people)]
  header = ['image', 'person']
  if out.suffix == '.csv':
    header += [str(place) for place in range(found.vectors.shape[1])]
    # The shortest decimals that give the same number.
    for row, vector in zip(rows, found.vectors):
      row += [str(number) for number in vector]
  text = io.StringIO()
  csv.writer(text, lineterminator='\n').writerows([header, *rows])
  atomic.write(out.with_suffix('.csv'), text.getvalue().encode())
  if out.suffix == '.npy':
    content = io.BytesIO()
    np.save(content, found.vectors)
    atomic.write(out, content.getvalue())


def _check_alignment(model: Model, path: pathlib.Path) -> None:
  wanted = model.embedder.fingerprint
  found = fingerprints.read(path.parent if path.is_file() else path)
  fingerprints.check(found, wanted, str(path), model.name)
  for warning in fingerprints.warn_of_drawn(
    found, wanted, str(path), model.name
  ):
    print(warning)
