"""Identifies probes against a gallery of people, by cosine.

  python -m faceqat.identify --model=sface_int8 --gallery=PEOPLE \
    --probe=PHOTOGRAPHS --photographs
  python -m faceqat.identify --model=runs/mbv2_int8 --gallery=PEOPLE \
    --probe=IMAGE_OR_FOLDER
  python -m faceqat.identify --model=runs/mbv2_int8 --held_out=10

`--model` is a training run (`--precision=float`, `fake_quant` or `integer`),
a network that comes with faceqat (`sface_int8`), the file of an integer
program, or an exported `.tflite` or `.onnx`; integers are matched in integers.
`PEOPLE` is a folder `person/image.jpg` of faces aligned as the network wants
them (of photographs, with `--photographs`), or a gallery that `--save_gallery`
wrote; `--add=PEOPLE` grows it.

Prints how many answers are right, where the probes lie in folders of people of
the gallery, and writes `predictions.csv`, `predictions.txt` and
`contact_sheet.png` to `--out` (in CSV files a name that a spreadsheet would
take for a formula, such as `=1+1`, has a `'` before it). A threshold rejects
people who are not in the gallery: `--threshold`, or the one that lets a stated
share of strangers through: `--false_positive_rate=0.01
--calibration=STRANGERS`. A network that comes with faceqat has a threshold, and
says how often other people reach it; `--threshold=-1` names everybody.

`--held_out=10` uses the people who were kept out of training: the first image
of each is the gallery, the next nine are probes. (For a file, `--config` says
who they are.)
"""

from typing import TYPE_CHECKING

from absl import flags

from faceqat import command
from faceqat.identification.settings import Settings

if TYPE_CHECKING:
  from faceqat.identification.identify import Outcome


def define_flags():
  flags.DEFINE_string('model', None, 'Run folder, program, .tflite or .onnx.')
  flags.DEFINE_string('gallery', None, 'Folder of people, or a saved gallery.')
  flags.DEFINE_string('probe', None, 'Image, or folder of images.')
  command.define_settings(Settings)
  flags.DEFINE_alias('reading', 'precision')
  command.define_config(
    "Whose `data` block says whom --held_out is; a run's own."
  )
  command.group_flags(
    'the network', 'precision', 'step', 'contract', 'calibrate', 'batch_size'
  )
  command.group_flags(
    'the gallery', 'save_gallery', 'add', 'prototypes', 'int8'
  )
  command.group_flags(
    *('the images', 'photographs', 'faces', 'detector', 'stored_size'),
    *('held_out', 'config'),
  )
  command.group_flags(
    *('people who are not in the gallery', 'threshold'),
    *('false_positive_rate', 'calibration'),
  )
  command.group_flags(
    *('faces that are not usable', 'least_face', 'most_turn'),
    *('least_sharpness', 'least_exposed', 'least_norm'),
  )
  command.group_flags('what is written', 'out', 'k', 'sheet_rows')
  flags.mark_flags_as_required(['model'])


def main():
  from faceqat.identification.identify import identify

  args = flags.FLAGS
  settings = command.given_settings(Settings)
  show(identify(args.model, args.gallery, args.probe, settings), settings)


def show(found: 'Outcome', settings: Settings):
  """Prints the first answers and images left out, and where the others are."""
  from faceqat.identification import answers

  answers.show_left_out(found.left_out)
  if found.answers is not None:
    answers.show(found.answers, found.precision, found.gallery)
    print(f'predictions and contact sheet: {settings.out}')


if __name__ == '__main__':
  define_flags()
  command.run(main)
