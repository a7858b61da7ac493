"""Cuts aligned faces out of photographs, and makes a data set of them.

  python -m faceqat.prepare PHOTOS OUT
  python -m faceqat.prepare photos.zip OUT --alignment=margin --format=recordio

PHOTOS is a folder with a folder of photographs for each person, or an archive
(.zip, .tar, .tar.gz) of one. OUT is a folder that appears when all is done: the
faces (OUT/person/photo.jpg; or OUT/train.rec; or OUT/train.array_record),
`prepare.json` with what became of each photograph, and `prepare.txt` with what
is worth a look. With --split there are pairs of the people of OUT/test too, to
evaluate on: --config.eval.path=OUT/test --config.eval.pairs=OUT/test_pairs.csv

OUT.work keeps the crops, what an archive held, and `missed.png`, photographs
without a face. A run that was stopped goes on there, and a run with another
selection (--remove, --min_images, --split, --format) need not look for faces
again; remove it when the data set is as you want it.

Duplicates, people of an evaluation set and photographs whose face is not clear
are reported and stay; with --remove=duplicates,shared,ambiguous they go. People
with few images are left out by --min_images; where they stay, training fills
them up (data.people_per_batch), or --complete does: with images that are made
of theirs, NAME.made1.jpg, which are trained on and never compared.
"""

import signal
import sys

from absl import flags

from faceqat import command
from faceqat.faces import choice
from faceqat.preparation import crops, data_set, report, splits
from faceqat.preparation.prepare import Options, prepare


def define_flags():
  settings, options = crops.CropSettings(), Options()
  flags.DEFINE_enum(
    'alignment',
    settings.alignment,
    crops.ALIGNMENTS,
    'arcface: five points of the face on the template of InsightFace; '
    'sphereface: on that of SphereFace and CosFace, 112 high and 96 wide; '
    'margin: the box of the face with a margin, as FaceNet.',
  )
  command.define_size(
    'size',
    'Height and width of the crops; 112 for arcface, 112,96 for sphereface and '
    '160 for margin if not given.',
  )
  flags.DEFINE_enum(
    'faces',
    settings.faces,
    choice.CHOICES,
    'Which faces of a photograph to take.',
  )
  flags.DEFINE_string(
    'detector',
    settings.detector,
    'ONNX file of a YuNet detector instead of the one inside.',
  )
  flags.DEFINE_enum(
    'format', options.data_format, data_set.FORMATS, 'What OUT holds.'
  )
  flags.DEFINE_list(
    'split',
    None,
    'Per cent of the people in train, validation and test, such as 80,10,10; '
    'nobody is in two of them.',
  )
  flags.DEFINE_integer('seed', options.seed, 'Another one splits otherwise.')
  flags.DEFINE_integer(
    'min_images',
    options.min_images,
    'Leave out people with fewer crops.',
    lower_bound=1,
  )
  flags.DEFINE_integer(
    'complete',
    options.complete,
    'Give people with fewer crops so many, by images made of theirs (mirrored, '
    'shifted, lighter or darker; NAME.made1.jpg); not in validation and test. '
    '0: nobody.',
    lower_bound=0,
  )
  flags.DEFINE_string(
    'evaluation',
    options.evaluation,
    'Folder person/image of aligned faces, as LFW: who is there too, by name '
    'or by picture, is reported.',
  )
  flags.DEFINE_list(
    'remove',
    list(options.remove),
    'What not to take over: duplicates, shared (people of --evaluation), '
    'ambiguous (photographs where another face might be meant).',
  )
  flags.DEFINE_integer(
    'workers',
    options.workers,
    'Processes; 0: one for each core.',
    lower_bound=0,
  )


def main(photographs: str, out: str):
  args = flags.FLAGS
  settings = crops.CropSettings(
    args.alignment, args.size, args.faces, args.detector
  )
  options = Options(
    data_format=args.format,
    shares=splits.parse_shares(args.split) if args.split else None,
    seed=args.seed,
    min_images=args.min_images,
    complete=args.complete,
    evaluation=args.evaluation,
    remove=args.remove,
    workers=args.workers,
  )
  # A stop by the system is one by Ctrl-C.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  try:
    outcome = prepare(photographs, out, settings, options)
  except KeyboardInterrupt as stop:
    sys.exit(str(stop) or 'stopped; the same command goes on from there')
  print(report.summary(outcome))
  print(f'written to {out}; prepare.txt there names what is worth a look')
  print(f'the crops stay in {out}.work for another run')


if __name__ == '__main__':
  define_flags()
  command.run(main, ('PHOTOS', 'OUT'))
