"""Cuts aligned faces out of photographs, and makes a data set.

  python -m faceqat.prepare PHOTOS OUT
  python -m faceqat.prepare photos.zip OUT --alignment=margin --format=recordio

PHOTOS is a folder with a folder of photographs for each person, or an archive
of one (.zip, .tar, .tar.gz). OUT is a folder that appears when all is done. It
holds the faces (person/photo.jpg, train.rec or train.array_record),
`prepare.json` with a record of each photograph, and `prepare.txt` with the
findings. With --split there are also pairs of the people in OUT/test, for
--config.eval.path=OUT/test --config.eval.pairs=OUT/test_pairs.csv

OUT.work keeps the crops, the content of an archive, and `missed.png`, the
photographs without a face. A stopped run goes on there, and a run with another
selection (--remove, --min_images, --split, --format) finds its crops there.
Remove it when the data set is as you want it.

Duplicates, people of an evaluation set and photographs with an unclear face are
reported; --remove=duplicates,shared,ambiguous removes them. --min_images leaves
out people with few images; --complete gives them more, made of their own
(NAME.made1.jpg), which are trained on and never compared.
"""

import signal

from faceqat import command
from faceqat.preparation import report
from faceqat.preparation.crops import CropSettings
from faceqat.preparation.prepare import Options, prepare


def define_flags():
  command.define_settings(CropSettings)
  command.define_settings(Options)
  command.group_flags(
    'the faces', 'alignment', 'size', 'faces', 'detector', 'workers'
  )
  command.group_flags(
    *('the data set', 'format', 'split', 'seed', 'min_images', 'complete'),
    *('evaluation', 'remove'),
  )


def main(photographs: str, out: str):
  settings = command.given_settings(CropSettings)
  options = command.given_settings(Options)
  # The system's request to stop is treated like Ctrl-C.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  try:
    outcome = prepare(photographs, out, settings, options)
  except KeyboardInterrupt as stop:
    raise KeyboardInterrupt(
      str(stop) or 'stopped; the same command goes on from there'
    ) from None
  print(report.summary(outcome))
  print(f'written to {out}; prepare.txt there names what is worth a look')
  print(f'the crops stay in {out}.work for another run')


if __name__ == '__main__':
  define_flags()
  command.run(main, ('PHOTOS', 'OUT'))
