"""Settings of an identification, with their defaults and checks."""

import dataclasses
import os
import pathlib

import ml_collections

from faceqat.command import option
from faceqat.evaluators import PRECISIONS
from faceqat.faces.choice import CHOICES
from faceqat.faces.quality import Bars
from faceqat.files import folders
from faceqat.files.image_size import ImageSize
from faceqat.integer.program import CONTRACTS

PathLike = str | os.PathLike

CALIBRATE_HELP = (
  'Of a packaged network: folder of faces of your own camera to measure its '
  'ranges on, in folders of people or not, in place of those that it ships '
  'with.'
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """How to identify; all fields but `config` are flags of the command."""

  out: PathLike = option(
    'identification', 'Folder for predictions and contact sheet.'
  )
  k: int = option(5, 'Answers to each probe.', least=1)
  prototypes: bool = option(
    False, 'One template a person, the mean of all their images.'
  )
  precision: str | None = option(
    None, "Of a run; 'integer' unless given.", choices=PRECISIONS
  )
  step: str = option('latest', "Of a run: 'latest', 'best', a number.")
  calibrate: PathLike | None = option(None, CALIBRATE_HELP)
  contract: str = option(
    CONTRACTS[0], 'Whose rounding a run is lowered to.', choices=CONTRACTS
  )
  save_gallery: PathLike | None = option(None, 'File to write, .safetensors.')
  add: PathLike | None = option(None, 'Folder of people to add to the gallery.')
  int8: bool = option(False, 'Keep templates in int8, and search in integers.')
  threshold: float | None = option(
    None,
    'Cosine that a match has to reach, else it is unknown; a network whose '
    'false-match rates are known has one of its own, and -1 names everybody.',
  )
  false_positive_rate: float | None = option(
    None,
    'Share of strangers who may be given a name; chooses the threshold, by the '
    "network's false-match rates or on --calibration.",
  )
  calibration: PathLike | None = option(
    None, 'Folder of people who are not in the gallery.'
  )
  photographs: bool = option(
    False, 'Find and align the faces first; crops need not.'
  )
  faces: str = option(
    'largest', 'Which of several in a photograph of probes.', choices=CHOICES
  )
  detector: PathLike | None = option(
    None, 'ONNX file of a YuNet detector, in place of the own one.'
  )
  least_face: float = option(
    Bars.size, 'Pixels of a face in a photograph; a smaller one is not usable.'
  )
  most_turn: float = option(
    Bars.turn, 'Degrees by which such a face may be turned to a side, or nod.'
  )
  least_sharpness: float = option(
    Bars.sharpness, 'Of such a face; below it is blurred and not usable.'
  )
  least_exposed: float = option(
    Bars.exposed, 'Share of such a face that is neither black nor white.'
  )
  least_norm: float | None = option(
    None,
    'Length of an embedding, below which a face is not usable; by default that '
    "of the network's evaluation, if lengths mean something there.",
  )
  stored_size: ImageSize | None = option(
    None,
    "Height and width of crops that are resized to the network's size; by "
    "default those of the run's training.",
  )
  held_out: int = option(
    0,
    'In place of --gallery and --probe: at most so many images of each of the '
    'people whom the training left out, the first one in the gallery.',
  )
  # Whose `data` block says who is held out; None: the run's own.
  config: ml_collections.ConfigDict | None = None
  batch_size: int = option(64, 'Images in one call of the network.', least=1)
  sheet_rows: int = option(24, 'Probes on the contact sheet.', least=1)

  @property
  def bars(self) -> Bars:
    """What a face in a photograph has to reach."""
    return Bars(
      self.least_face, self.most_turn, self.least_sharpness, self.least_exposed
    )


def check(
  gallery: PathLike | None, probes: PathLike | None, settings: Settings
):
  """Refuses what does not go together, before anything is read.

  Raises:
    ValueError: names the flag, and what to give.
  """
  folders.check_out(settings.out)
  own = gallery or probes
  held_out, threshold = settings.held_out, settings.threshold
  rate, calibration = settings.false_positive_rate, settings.calibration
  place = pathlib.Path(settings.save_gallery or '.').parent
  for is_wrong, message in (
    (
      not place.is_dir(),
      f'--save_gallery={settings.save_gallery}: there is no folder {place}; '
      'make it',
    ),
    (
      pathlib.Path(settings.save_gallery or 'file').is_dir(),
      f'--save_gallery={settings.save_gallery} is a folder; give a file',
    ),
    (
      held_out and own,
      '--held_out takes its own gallery and probes; leave --gallery and '
      '--probe out',
    ),
    (
      held_out and held_out < 2,
      f'--held_out={held_out}: give 2 or more images a person, one for the '
      'gallery',
    ),
    (
      not held_out and not gallery,
      'give --gallery, a folder with one folder for each person or a saved '
      'gallery, or --held_out',
    ),
    (
      not held_out and not probes and not settings.save_gallery,
      'give --probe, an image or a folder of them, or --save_gallery',
    ),
    (
      rate is None and calibration is not None,
      '--false_positive_rate and --calibration go together: the rate, and a '
      'folder of people who are not in the gallery, to measure it on',
    ),
    (
      settings.calibrate and settings.precision == 'float',
      f'--calibrate={settings.calibrate} measures the ranges of integers, of '
      'which --precision=float has none; leave one of them out',
    ),
    (
      threshold is not None and rate is not None,
      'give --threshold or --false_positive_rate, not both',
    ),
    (
      threshold is not None and not -1 <= threshold <= 1,
      f'--threshold={threshold}: a cosine is between -1 and 1',
    ),
  ):
    if is_wrong:
      raise ValueError(message)
