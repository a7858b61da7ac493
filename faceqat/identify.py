"""Who is it? Probes against a gallery of people, by cosine.

  python -m faceqat.identify --gallery=PEOPLE --probe=IMAGE_OR_FOLDER \
    --model=runs/mbv2_int8

`--model` is a training run (`--precision=float`, `fake_quant` or `integer`),
the file of an integer program, or an exported `.tflite` or `.onnx`; integers
are matched in integers. `PEOPLE` is a folder `person/image.jpg` of faces
aligned as the network wants them (of photographs, with `--photographs`), or a
gallery that `--save_gallery` wrote; `--add=PEOPLE` grows it.

Prints how many answers are right, where the probes lie in folders of people
that the gallery knows, and writes `predictions.csv`, `predictions.txt` and
`contact_sheet.png` to `--out` (in CSV files a name that a spreadsheet would
take for a formula, such as `=1+1`, has a `'` before it). People who are not in
the gallery are told by a threshold: `--threshold`, or one for a stated share of
strangers that it lets through, `--false_positive_rate=0.01
--calibration=STRANGERS`.

  python -m faceqat.identify --held_out=10 --model=runs/mbv2_int8

asks for the people whom the training left out: the first image of each is the
gallery, the next nine are probes. (For a file, `--config` says who they are.)
"""

import dataclasses

from absl import flags
from ml_collections import config_flags

from faceqat import command
from faceqat.evaluators import PRECISIONS
from faceqat.faces.choice import CHOICES
from faceqat.identification import answers
from faceqat.identification.identify import Outcome, identify
from faceqat.identification.settings import Settings
from faceqat.integer.program import CONTRACTS


def define_flags():
  default = Settings()
  flags.DEFINE_string('model', None, 'Run folder, program, .tflite or .onnx.')
  flags.DEFINE_string('gallery', None, 'Folder of people, or a saved gallery.')
  flags.DEFINE_string('probe', None, 'Image, or folder of images.')
  flags.DEFINE_string(
    'out', default.out, 'Folder for predictions and contact sheet.'
  )
  flags.DEFINE_integer('k', default.k, 'Answers to each probe.', lower_bound=1)
  flags.DEFINE_bool(
    'prototypes',
    default.prototypes,
    'One template a person, the mean of all their images.',
  )
  flags.DEFINE_enum(
    'precision', None, PRECISIONS, "Of a run; 'integer' unless given."
  )
  flags.DEFINE_alias('reading', 'precision')
  flags.DEFINE_string(
    'step', default.step, "Of a run: 'latest', 'best', a number."
  )
  flags.DEFINE_enum(
    'contract',
    default.contract,
    CONTRACTS,
    'Whose rounding a run is lowered to.',
  )
  flags.DEFINE_string('save_gallery', None, 'File to write, .safetensors.')
  flags.DEFINE_string('add', None, 'Folder of people to add to the gallery.')
  flags.DEFINE_bool(
    'int8', default.int8, 'Keep templates in int8, and search in integers.'
  )
  flags.DEFINE_float(
    'threshold', None, 'Cosine that a match has to reach; else it is unknown.'
  )
  flags.DEFINE_float(
    'false_positive_rate',
    None,
    'Share of strangers who may be given a name; chooses the threshold.',
  )
  flags.DEFINE_string(
    'calibration', None, 'Folder of people who are not in the gallery.'
  )
  flags.DEFINE_bool(
    'photographs',
    default.photographs,
    'Find and align the faces first; crops need not.',
  )
  flags.DEFINE_enum(
    'faces',
    default.faces,
    CHOICES,
    'Which of several in a photograph of probes.',
  )
  flags.DEFINE_string(
    'detector', None, 'ONNX file of a YuNet detector, in place of the own one.'
  )
  command.define_size(
    'stored_size',
    "Height and width of crops that are resized to the network's size; by "
    "default those of the run's training.",
  )
  flags.DEFINE_integer(
    'held_out',
    default.held_out,
    'In place of --gallery and --probe: at most so many images of each of the '
    'people whom the training left out, the first one in the gallery.',
  )
  config_flags.DEFINE_config_file(
    'config', None, "Whose `data` block says whom --held_out is; a run's own."
  )
  flags.DEFINE_integer(
    'batch_size',
    default.batch_size,
    'Images in one call of the network.',
    lower_bound=1,
  )
  flags.DEFINE_integer(
    'sheet_rows',
    default.sheet_rows,
    'Probes on the contact sheet.',
    lower_bound=1,
  )
  flags.mark_flags_as_required(['model'])


def main():
  args = flags.FLAGS
  names = [field.name for field in dataclasses.fields(Settings)]
  settings = Settings(**{name: args[name].value for name in names})
  show(identify(args.model, args.gallery, args.probe, settings), settings)


def show(found: Outcome, settings: Settings):
  """Prints the first answers and images left out, and where the others are."""
  answers.show_left_out(found.left_out)
  if found.answers is not None:
    answers.show(found.answers, found.precision, found.gallery)
    print(f'predictions and contact sheet: {settings.out}')


if __name__ == '__main__':
  define_flags()
  command.run(main)
