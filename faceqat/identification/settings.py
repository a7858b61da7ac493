"""Settings of an identification, with their defaults and checks."""

import dataclasses
import os
import pathlib

import ml_collections

from faceqat.files.image_size import ImageSize
from faceqat.integer.program import CONTRACTS

PathLike = str | os.PathLike


@dataclasses.dataclass(frozen=True)
class Settings:
  """How to identify. All defaults stand here, those of the command too.

  Attributes:
    out: folder for predictions and the contact sheet; made if there is none.
    k: answers to each probe.
    prototypes: search one template a person, the mean of all their images.
    precision: of a run, one of `evaluators.PRECISIONS`; None: integer.
    step: of a run: 'latest', 'best' or a number.
    contract: whose rounding a run is lowered to, one of `CONTRACTS`.
    save_gallery: file to write the gallery to, .safetensors.
    add: folder of people to add to the gallery.
    int8: keep templates in int8, and search in integers.
    threshold: cosine that a match has to reach; else the probe is unknown.
    false_positive_rate: share of strangers who may be given a name; chooses
      the threshold, with `calibration`.
    calibration: folder of people who are not in the gallery.
    photographs: the images are photographs: find and align the faces first.
    faces: which of several in a photograph of probes, one of `choice.CHOICES`.
    detector: ONNX file of a YuNet detector; None: the packaged one.
    stored_size: of crops, which are resized to the network's size; None: that
      of the run's training.
    held_out: in place of a gallery and probes, at most so many images of each
      of the people whom the training left out, the first one in the gallery.
    config: whose `data` block says who these are; None: the run's own.
    batch_size: images in one call of the network.
    sheet_rows: most probes on the contact sheet.
  """

  out: PathLike = 'identification'
  k: int = 5
  prototypes: bool = False
  precision: str | None = None
  step: str = 'latest'
  contract: str = CONTRACTS[0]
  save_gallery: PathLike | None = None
  add: PathLike | None = None
  int8: bool = False
  threshold: float | None = None
  false_positive_rate: float | None = None
  calibration: PathLike | None = None
  photographs: bool = False
  faces: str = 'largest'
  detector: PathLike | None = None
  stored_size: ImageSize | None = None
  held_out: int = 0
  config: ml_collections.ConfigDict | None = None
  batch_size: int = 64
  sheet_rows: int = 24


def check(
  gallery: PathLike | None, probes: PathLike | None, settings: Settings
):
  """Refuses what does not go together, before anything is read.

  Raises:
    ValueError: names the flag, and what to give.
  """
  _check_places(settings)
  _check_images(gallery, probes, settings)
  _check_threshold(settings)


def _check_places(settings: Settings):
  if settings.save_gallery:
    folder = pathlib.Path(settings.save_gallery).parent
    if not folder.is_dir():
      raise ValueError(
        f'--save_gallery={settings.save_gallery}: there is no folder {folder}; '
        'make it'
      )
  out = pathlib.Path(settings.out)
  if out.exists() and not out.is_dir():
    raise ValueError(
      f'--out={out} is a file; give a folder, which is made if there is none'
    )


def _check_images(
  gallery: PathLike | None, probes: PathLike | None, settings: Settings
):
  if settings.held_out:
    if gallery or probes:
      raise ValueError(
        '--held_out takes its own gallery and probes; leave --gallery and '
        '--probe out'
      )
    if settings.held_out < 2:
      raise ValueError(
        f'--held_out={settings.held_out}: give 2 or more images a person, one '
        'for the gallery'
      )
  elif not gallery:
    raise ValueError(
      'give --gallery, a folder with one folder for each person or a saved '
      'gallery, or --held_out'
    )
  elif not probes and not settings.save_gallery:
    raise ValueError('give --probe, whom to ask for, or --save_gallery')


def _check_threshold(settings: Settings):
  if (settings.false_positive_rate is None) != (settings.calibration is None):
    raise ValueError(
      '--false_positive_rate and --calibration go together: the rate, and a '
      'folder of people who are not in the gallery, on whom it is kept'
    )
  if settings.threshold is not None:
    if settings.calibration is not None:
      raise ValueError('give --threshold or --false_positive_rate, not both')
    if not -1 <= settings.threshold <= 1:
      raise ValueError(
        f'--threshold={settings.threshold:g}: a cosine is between -1 and 1'
      )
