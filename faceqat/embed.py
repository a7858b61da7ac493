"""Writes embeddings of faces as .npy or CSV, with their file names.

  python -m faceqat.embed FACES --out=embeddings.npy
  python -m faceqat.embed a.jpg b.jpg --out=embeddings.csv --photographs

Each PATH is an image, or a folder of images or of folders of people. They are
faces aligned as the network wants them, or with `--photographs` photographs in
which the faces are found and aligned first.

A row is an embedding: integers of a network in integers, else float32. Their
cosine is the score of two faces. Beside `embeddings.npy`, a file
`embeddings.csv` names the image and the person of each row; a CSV has them in
its first columns.
"""

from absl import flags

from faceqat import command
from faceqat.calibration.packaged_files import NAMES
from faceqat.evaluators import PRECISIONS
from faceqat.faces.choice import CHOICES


def define_flags():
  flags.DEFINE_string('out', None, 'File to write, .npy or .csv.')
  flags.DEFINE_string(
    'model', NAMES[0], 'Packaged network, run folder, program, .tflite, .onnx.'
  )
  flags.DEFINE_enum(
    'precision', None, PRECISIONS, "Of a run; 'integer' unless given."
  )
  flags.DEFINE_string('step', 'latest', "Of a run: 'latest', 'best', a number.")
  flags.DEFINE_bool('photographs', False, 'Find and align the faces first.')
  flags.DEFINE_enum(
    'faces', 'largest', CHOICES, 'Which of several in a photograph.'
  )
  flags.DEFINE_bool(
    'mirrored',
    False,
    'Add the embedding of the mirror image, as galleries and published '
    'accuracies do: twice the work, a little more accurate.',
  )
  command.define_size(
    'stored_size',
    "Of crops that are resized to the network's size; by default those of the "
    "run's training.",
  )
  flags.mark_flags_as_required(['out'])


def main(*paths: str):
  from faceqat.api import embedding_files
  from faceqat.api.loading import load

  args = flags.FLAGS
  embedding_files.check_out(args.out)
  model = load(args.model, args.precision, step=args.step)
  found = embedding_files.embed_files(
    model,
    paths,
    photographs=args.photographs,
    faces=args.faces,
    mirrored=args.mirrored,
    stored_size=args.stored_size,
  )
  for name, reason in found.left_out:
    print(f'left out: {name}: {reason}')
  embedding_files.write(found, args.out)
  count, size = found.vectors.shape
  print(f'{args.out}: {count:,} faces, {size} numbers each')


if __name__ == '__main__':
  define_flags()
  command.run(main, ('PATH...',))
