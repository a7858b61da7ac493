"""Reads the faces of a user's own camera, and calibrates a network on them."""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from faceqat.calibration import packaged_files
from faceqat.faces import fingerprint as fingerprints
from faceqat.faces import images
from faceqat.files.image_size import height_width
from faceqat.identification import face_files
from faceqat.identification.face_files import Entry, LeftOut, Reader

# The help of a command, and a file, need none of what a calibration does.
if TYPE_CHECKING:
  from faceqat.models.network import Network


def check(model: str | os.PathLike, folder: str | os.PathLike):
  """Refuses a folder that is none, and a network that is not packaged.

  Raises:
    ValueError: names the flag, and what to give.
  """
  from faceqat.calibration import recalibration

  if os.fspath(model) not in packaged_files.NAMES:
    raise ValueError(
      f'--calibrate={folder} is for {" and ".join(packaged_files.NAMES)}, '
      f'and --model={model} has the ranges of its training: leave --calibrate '
      f'out, or train with --config.data.path={folder}'
    )
  if not pathlib.Path(folder).is_dir():
    raise ValueError(
      f'--calibrate={folder} is no folder; give one of faces of your camera, '
      f'{recalibration.ENOUGH_IMAGES} or more'
    )


def load_network(
  model: str, step: str, folder: str | os.PathLike | None
) -> 'Network':
  """The network of a run, or a packaged one, calibrated if a folder is given.

  Raises:
    ValueError: as `checkpoint.load_network`, or as `calibrate`.
  """
  from faceqat.training import checkpoint

  if folder:
    check(model, folder)
  network = checkpoint.load_network(model, step)
  return calibrate(model, network, folder) if folder else network


def calibrate(
  model: str | os.PathLike,
  network: 'Network',
  folder: str | os.PathLike,
  reader: Reader | None = None,
  *,
  aligned: bool = True,
) -> 'Network':
  """Calibrates a packaged network on a folder, and prints what changes.

  Args:
    model: its name.
    network: as it ships.
    folder: one that `check` accepts, of images, in folders of people or not.
    reader: from an image to the faces in it; None: the images are faces of
      the network's size.
    aligned: the images are faces, and no photographs.

  Raises:
    ValueError: too few faces can be used, or they are aligned otherwise than
      the network wants them.
  """
  from faceqat.calibration import recalibration
  from faceqat.report.layer_tables import forms_table, ranges_table

  if aligned:
    _check_alignment(network, folder)
  entries, left_out = face_files.list_probes(
    folder, reader or _crop_reader(network)
  )
  faces, people = [], []
  for entry, _, face in face_files.read_faces(_spread(entries), left_out):
    faces.append(face)
    people.append(entry.person)
  _check_count(len(faces), folder, left_out)
  name = os.fspath(model)
  found = recalibration.recalibrate(name, network, np.stack(faces), people)
  print(ranges_table(found))
  print(forms_table(found))
  if found.own.cosines.mean() < found.packaged.cosines.mean():
    print(
      'warning: on these faces the packaged ranges are nearer to the float '
      'network; give more, or leave --calibrate out'
    )
  return found.network


def _check_alignment(network: 'Network', folder: str | os.PathLike):
  wanted = fingerprints.of_run(network.config)
  found, flag = fingerprints.read(folder), f'--calibrate={folder}'
  fingerprints.check(found, wanted, flag, '--model')
  for warning in fingerprints.warn_of_drawn(found, wanted, flag, '--model'):
    print(warning)


def _crop_reader(network: 'Network') -> Reader:
  size = height_width(network.config.data.image_size)

  def read(path: pathlib.Path) -> list[np.ndarray]:
    try:
      return [images.read_image(path, size)]
    except images.WrongSizeError as error:
      raise ValueError(
        f'{error.what}: cut the faces out with python -m faceqat.prepare'
      ) from error
    except images.DamagedImageError as error:
      raise ValueError(error.what) from error

  return read


def _spread(entries: Sequence[Entry]) -> list[Entry]:
  """As many of them as are used, evenly."""
  from faceqat.calibration import recalibration

  # About so many are calibrated on, and a fifth of all held out.
  count = min(len(entries), recalibration.MOST_IMAGES * 5 // 4)
  rows = np.linspace(0, len(entries) - 1, count)
  return [entries[int(row)] for row in rows]


def _check_count(
  count: int, folder: str | os.PathLike, left_out: Sequence[LeftOut]
):
  from faceqat.calibration import recalibration

  usable = f'--calibrate={folder}: usable faces: {count}'
  if left_out:
    usable += (
      f' (left out: {len(left_out):,}, the first one as {left_out[0].reason})'
    )
  if count < recalibration.LEAST_IMAGES:
    raise ValueError(
      f'{usable}, wanted {recalibration.LEAST_IMAGES} or more: from fewer, '
      'ranges are worse than those that ship; give more, or leave --calibrate '
      'out'
    )
  print(usable)
  if count < recalibration.ENOUGH_IMAGES:
    print(
      f'warning: with fewer than {recalibration.ENOUGH_IMAGES} faces, ranges '
      'depend on which they are'
    )
