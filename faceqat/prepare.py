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

from faceqat import command
from faceqat.preparation import report
from faceqat.preparation.crops import CropSettings
from faceqat.preparation.prepare import Options, prepare


def define_flags():
  command.define_settings(CropSettings)
  command.define_settings(Options)


def main(photographs: str, out: str):
  settings = command.given_settings(CropSettings)
  options = command.given_settings(Options)
  # The system's request to stop is treated like Ctrl-C.
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
