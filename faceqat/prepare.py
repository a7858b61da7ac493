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

import hashlib
import os
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from faceqat import command
from faceqat.faces import alignment, choice, detection, fingerprint
from faceqat.files import atomic
from faceqat.files.image_size import to_json, to_text
from faceqat.pace import Pace, minutes
from faceqat.preparation import (
  archive,
  completion,
  crops,
  data_set,
  journal,
  listing,
  report,
  selection,
  splits,
)

_SIZES = {name: made.size for name, made in alignment.TEMPLATES.items()}
_SIZES['margin'] = 160
# Of a crop, in pixels.
_LEAST, _MOST = 16, 1024
# Seconds between two lines of progress.
_PAUSE = 10

_ALIGNMENT = flags.DEFINE_enum(
  'alignment',
  'arcface',
  crops.ALIGNMENTS,
  'arcface: five points of the face on the template of InsightFace; '
  'sphereface: on that of SphereFace and CosFace, 112 high and 96 wide; '
  'margin: the box of the face with a margin, as FaceNet.',
)
_SIZE = command.define_size(
  'size',
  'Height and width of the crops; 112 for arcface, 112,96 for sphereface and '
  '160 for margin if not given.',
)
_FACES = flags.DEFINE_enum(
  'faces', 'largest', choice.CHOICES, 'Which faces of a photograph to take.'
)
_DETECTOR = flags.DEFINE_string(
  'detector', '', 'ONNX file of a YuNet detector instead of the one inside.'
)
_FORMAT = flags.DEFINE_enum(
  'format', 'folder', data_set.FORMATS, 'What OUT holds.'
)
_SPLIT = flags.DEFINE_list(
  'split',
  None,
  'Per cent of the people in train, validation and test, such as 80,10,10; '
  'nobody is in two of them.',
)
_SEED = flags.DEFINE_integer('seed', 0, 'Another one splits otherwise.')
_MIN_IMAGES = flags.DEFINE_integer(
  'min_images', 1, 'Leave out people with fewer crops.', lower_bound=1
)
_COMPLETE = flags.DEFINE_integer(
  'complete',
  0,
  'Give people with fewer crops so many, by images made of theirs (mirrored, '
  'shifted, lighter or darker; NAME.made1.jpg); not in validation and test. 0: '
  'nobody.',
  lower_bound=0,
)
_EVALUATION = flags.DEFINE_string(
  'evaluation',
  '',
  'Folder person/image of aligned faces, as LFW: who is there too, by name or '
  'by picture, is reported.',
)
_REMOVE = flags.DEFINE_list(
  'remove',
  [],
  'What not to take over: duplicates, shared (people of --evaluation), '
  'ambiguous (photographs where another face might be meant).',
)
_WORKERS = flags.DEFINE_integer(
  'workers', 0, 'Processes; 0: one for each core.', lower_bound=0
)


def prepare(
  source: str | os.PathLike,
  out: str | os.PathLike,
  settings: crops.CropSettings,
  *,
  data_format: str = 'folder',
  shares: Sequence[float] | None = None,
  seed: int = 0,
  min_images: int = 1,
  complete: int = 0,
  evaluation: str = '',
  remove: Sequence[str] = (),
  workers: int = 1,
) -> dict[str, Any]:
  """Makes a data set of photographs.

  Args:
    source: a folder or an archive.
    out: the folder to make; one that was prepared before is replaced. Its
      crops are kept beside it, with `.work` behind the name.
    settings: how faces are found and cut out.
    data_format: one of `data_set.FORMATS`.
    shares: of the people in train, validation and test; None: no split.
    seed: of the split.
    min_images: people with fewer crops are left out.
    complete: images that people in what is trained on have at least, made of
      their crops where these are fewer; of a folder alone.
    evaluation: a folder of aligned faces; empty: none.
    remove: which of `selection.REMOVALS` are left out.
    workers: processes.

  Returns:
    What `prepare.json` says (`report.make_report`).

  Raises:
    ValueError: there are no photographs or no faces, the archive is not safe,
      `out` holds something else, or the crops there were made otherwise.
  """
  source, out = pathlib.Path(source), pathlib.Path(out)
  completion.check(complete, data_format)
  _check_places(source, out)
  known = _read_evaluation(evaluation, settings)
  work = out.with_name(f'{out.name}.work')
  folder = source
  with journal.Journal(work, _manifest(source, settings)) as done:
    if archive.is_archive(source):
      folder = work / 'photographs'
      if not folder.exists():
        print(f'unpacking {source}', flush=True)
        archive.unpack(source, folder)
    found = listing.list_photographs(folder)
    _crop(settings, found, work / 'crops', done, workers)
    records = [done.find(photograph) for photograph in found.photographs]
  # Not into the data set, where it would be taken for one of its images.
  report.write_missed_picture(records, found.root, work)
  if not any(record['crops'] for record in records):
    first = next((r['reason'] for r in records if r['reason']), '')
    raise ValueError(
      f'None of the {len(records)} photographs in {source} has a face that '
      f'could be cut out ({records[0]["photograph"]}: {first}).'
    )
  chosen = selection.select(
    records,
    found.people,
    evaluation=known,
    remove=remove,
    min_images=min_images,
  )
  parts = selection.split(chosen, shares, seed)
  made = completion.plan(parts, complete)
  options = {
    'source': os.fspath(source),
    'alignment': settings.template,
    'size': to_json(settings.size),
    'faces': settings.faces,
    'format': data_format,
    'shares': shares,
    'seed': seed,
    'min_images': min_images,
    'complete': complete,
    'evaluation': evaluation,
    'remove': sorted(remove),
  }
  outcome = report.make_report(options, found, records, chosen, parts, made)
  temporary = atomic.temporary_name(out)
  temporary.mkdir()
  try:
    for name, people in parts.items():
      path = data_set.write(
        people, work / 'crops', temporary, name, data_format, settings.size
      )
      completion.write(made.get(name, {}), path, seed)
      fingerprint.write(
        fingerprint.Fingerprint(settings.template, settings.size), path
      )
      if data_format == 'folder' and name not in ('', 'train'):
        data_set.write_pairs(people, path, seed)
    report.write(outcome, temporary)
    atomic.replace_folder(temporary, out)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  # Of a run that was killed, now that it is not needed any more.
  atomic.clear(out.parent, out.name)
  return outcome


def _check_places(source: pathlib.Path, out: pathlib.Path):
  """Refuses what would be overwritten, or read as a photograph."""
  if not source.exists():
    raise ValueError(
      f'There is no {source}: give a folder with a folder of photographs for '
      f'each person, or an archive of it ({", ".join(archive.SUFFIXES)}).'
    )
  if source.is_file() and not archive.is_archive(source):
    raise ValueError(
      f'{source} is a file: wanted a folder, or an archive '
      f'({", ".join(archive.SUFFIXES)}).'
    )
  if out.suffix in ('.rec', '.array_record'):
    raise ValueError(
      f'OUT is {out}, wanted a folder: --format=recordio writes train.rec '
      'into it, --format=arrayrecord train.array_record.'
    )
  inner, outer = out.resolve(), source.resolve()
  if inner == outer or outer in inner.parents or inner in outer.parents:
    raise ValueError(
      f'OUT is {out} and the photographs are in {source}: give a folder that '
      'is not inside of the other.'
    )
  if not out.parent.is_dir():
    raise ValueError(f'There is no folder {out.parent} for {out}: make it.')
  if not out.exists():
    return
  if not out.is_dir():
    raise ValueError(f'{out} is a file: give a folder to make.')
  # What is replaced is removed.
  foreign = report.not_written(out)
  if foreign:
    raise ValueError(
      f'{out} has {foreign[0]!r}, which no preparation has put there: move it '
      'away, or give another OUT.'
    )


def _read_evaluation(
  folder: str, settings: crops.CropSettings
) -> selection.EvaluationSet | None:
  if not folder:
    return None
  # Pictures are only alike if they are cut out alike.
  fingerprint.check(
    fingerprint.read(folder),
    fingerprint.Fingerprint(settings.template, settings.size),
    folder,
    f'--alignment={settings.alignment}',
  )
  return selection.read_evaluation_set(folder)


def _manifest(
  source: pathlib.Path, settings: crops.CropSettings
) -> dict[str, Any]:
  """All that decides what the crops are."""
  weights = pathlib.Path(settings.detector or detection.packaged_weights())
  if not weights.is_file():
    raise ValueError(f'There is no detector {weights}.')
  manifest = {
    'photographs': os.fspath(source.resolve()),
    'alignment': settings.alignment,
    'size': to_json(settings.size),
    'faces': settings.faces,
    'detector': hashlib.sha256(weights.read_bytes()).hexdigest(),
  }
  if source.is_file():
    status = source.stat()
    manifest['archive'] = [status.st_size, status.st_mtime_ns]
  return manifest


def _crop(
  settings: crops.CropSettings,
  found: listing.Listing,
  folder: pathlib.Path,
  done: journal.Journal,
  workers: int,
):
  """Crops what the journal does not have, and says how far it is."""
  todo = [
    photograph
    for photograph in found.photographs
    if not _is_done(done.find(photograph), folder)
  ]
  total, before = len(found.photographs), len(found.photographs) - len(todo)
  if before:
    print(f'{before} of {total} photographs are done', flush=True)
  if not todo:
    return
  pace = Pace(before, total, 1)
  shown = time.monotonic()
  count = before
  try:
    for record in crops.crop_photographs(
      settings, found.root, todo, folder, min(workers, len(todo))
    ):
      done.add(record)
      count += 1
      if count == total or time.monotonic() - shown > _PAUSE:
        shown = time.monotonic()
        rate = pace.rate(count)
        print(
          f'photograph {count}/{total}  {rate:.1f} images/s  '
          f'{minutes((total - count) / max(rate, 1e-9))} left',
          flush=True,
        )
  except KeyboardInterrupt:
    raise KeyboardInterrupt(
      f'stopped with {count} of {total} photographs done; the same command '
      'goes on from there'
    ) from None


def _is_done(record: crops.Record | None, folder: pathlib.Path) -> bool:
  """Whether a record is there, and all of its crops."""
  return record is not None and all(
    (folder / crop['file']).is_file() for crop in record['crops']
  )


def main(photographs: str, out: str):
  size = _SIZES[_ALIGNMENT.value] if _SIZE.value is None else _SIZE.value
  settings = crops.CropSettings(
    _ALIGNMENT.value, size, _FACES.value, _DETECTOR.value
  )
  if not all(_LEAST <= side <= _MOST for side in settings.size):
    raise ValueError(
      f'--size is {to_text(size)}, wanted {_LEAST} to {_MOST} pixels.'
    )
  unknown = sorted({*_REMOVE.value} - {*selection.REMOVALS})
  if unknown:
    raise ValueError(
      f'--remove={unknown[0]} is none of {", ".join(selection.REMOVALS)}.'
    )
  if 'shared' in _REMOVE.value and not _EVALUATION.value:
    raise ValueError('--remove=shared needs --evaluation=FOLDER.')
  shares = splits.parse_shares(_SPLIT.value) if _SPLIT.value else None
  # A stop by the system is one by Ctrl-C.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  try:
    outcome = prepare(
      photographs,
      out,
      settings,
      data_format=_FORMAT.value,
      shares=shares,
      seed=_SEED.value,
      min_images=_MIN_IMAGES.value,
      complete=_COMPLETE.value,
      evaluation=_EVALUATION.value,
      remove=_REMOVE.value,
      workers=_WORKERS.value or os.cpu_count() or 1,
    )
  except KeyboardInterrupt as stop:
    sys.exit(str(stop) or 'stopped; the same command goes on from there')
  print(report.summary(outcome))
  print(f'written to {out}; prepare.txt there names what is worth a look')
  print(f'the crops stay in {out}.work for another run')


if __name__ == '__main__':
  command.run(main, ('PHOTOS', 'OUT'))
