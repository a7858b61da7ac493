"""Makes a data set of photographs: crops, a choice of them, and their files."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from faceqat.faces import detection, fingerprint
from faceqat.files import atomic
from faceqat.files.image_size import to_json, to_text
from faceqat.preparation import (
  archive,
  completion,
  crops,
  data_set,
  journal,
  listing,
  report,
  selection,
)
from faceqat.preparation.crops import CropSettings
from faceqat.progress import track

# Of a crop, in pixels.
_LEAST, _MOST = 16, 1024


@dataclasses.dataclass(frozen=True)
class Options:
  """What becomes of the crops. All defaults stand here.

  Attributes:
    data_format: one of `data_set.FORMATS`.
    shares: of the people in train, validation and test; None: no split.
    seed: of the split, and of images that are made.
    min_images: people with fewer crops are left out.
    complete: images that people in what is trained on have at least, made of
      their crops where these are fewer; of a folder alone.
    evaluation: a folder of aligned faces; empty: none.
    remove: which of `selection.REMOVALS` are left out.
    workers: processes; 0: one for each core.
  """

  data_format: str = 'folder'
  shares: Sequence[float] | None = None
  seed: int = 0
  min_images: int = 1
  complete: int = 0
  evaluation: str = ''
  remove: Sequence[str] = ()
  workers: int = 0


def prepare(
  source: str | os.PathLike,
  out: str | os.PathLike,
  settings: CropSettings,
  options: Options,
) -> dict[str, Any]:
  """Makes a data set of photographs.

  Args:
    source: a folder or an archive.
    out: the folder to make; one that was prepared before is replaced. Its
      crops are kept beside it, with `.work` behind the name.
    settings: how faces are found and cut out.
    options: which crops are taken, and how they are written.

  Returns:
    What `prepare.json` says (`report.make_report`).

  Raises:
    ValueError: there are no photographs or no faces, the archive is not safe,
      `out` holds something else, or the crops there were made otherwise.
  """
  source, out = pathlib.Path(source), pathlib.Path(out)
  _check_options(settings, options)
  _check_places(source, out)
  known = _read_evaluation(options.evaluation, settings)
  work = out.with_name(f'{out.name}.work')
  found, records = _find_faces(source, work, settings, options.workers)
  chosen = selection.select(
    records,
    found.people,
    evaluation=known,
    remove=options.remove,
    min_images=options.min_images,
  )
  parts = selection.split(chosen, options.shares, options.seed)
  made = completion.plan(parts, options.complete)
  outcome = report.make_report(
    _described(source, settings, options), found, records, chosen, parts, made
  )
  temporary = atomic.temporary_name(out)
  temporary.mkdir()
  try:
    for name, people in parts.items():
      path = data_set.write(
        people,
        work / 'crops',
        temporary,
        name,
        options.data_format,
        settings.size,
      )
      _complete(path, name, people, made.get(name, {}), settings, options)
    report.write(outcome, temporary)
    atomic.replace_folder(temporary, out)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  # Of a run that was killed, now that it is not needed any more.
  atomic.clear(out.parent, out.name)
  return outcome


def _find_faces(
  source: pathlib.Path,
  work: pathlib.Path,
  settings: CropSettings,
  workers: int,
) -> tuple[listing.Listing, list[crops.Record]]:
  """Cuts out all faces, or goes on; what there is, and what became of it."""
  folder = source
  with journal.Journal(work, _manifest(source, settings)) as done:
    if archive.is_archive(source):
      folder = work / 'photographs'
      if not folder.exists():
        print(f'unpacking {source}', flush=True)
        archive.unpack(source, folder)
    found = listing.list_photographs(folder)
    _crop(settings, found, work / 'crops', done, workers or os.cpu_count() or 1)
    records = [done.find(photograph) for photograph in found.photographs]
  # Not into the data set, where it would be taken for one of its images.
  report.write_missed_picture(records, found.root, work)
  if not any(record['crops'] for record in records):
    first = next((r['reason'] for r in records if r['reason']), '')
    raise ValueError(
      f'None of the {len(records)} photographs in {source} has a face that '
      f'could be cut out ({records[0]["photograph"]}: {first}).'
    )
  return found, records


def _complete(
  path: pathlib.Path,
  part: str,
  people: data_set.People,
  made: completion.Plan,
  settings: CropSettings,
  options: Options,
):
  """Adds to a part what goes with its crops: made ones, fingerprint, pairs."""
  completion.write(made, path, options.seed)
  fingerprint.write(
    fingerprint.Fingerprint(settings.template, settings.size), path
  )
  if options.data_format == 'folder' and part not in ('', 'train'):
    data_set.write_pairs(people, path, options.seed)


def _described(
  source: pathlib.Path, settings: CropSettings, options: Options
) -> dict[str, Any]:
  """All that was asked for, as `prepare.json` has it."""
  return {
    'source': os.fspath(source),
    'alignment': settings.template,
    'size': to_json(settings.size),
    'faces': settings.faces,
    'format': options.data_format,
    'shares': options.shares,
    'seed': options.seed,
    'min_images': options.min_images,
    'complete': options.complete,
    'evaluation': options.evaluation,
    'remove': sorted(options.remove),
  }


def _check_options(settings: CropSettings, options: Options):
  """Refuses what cannot be, before anything is read."""
  if not all(_LEAST <= side <= _MOST for side in settings.size):
    raise ValueError(
      f'--size is {to_text(settings.size)}, wanted {_LEAST} to {_MOST} pixels.'
    )
  unknown = sorted({*options.remove} - {*selection.REMOVALS})
  if unknown:
    raise ValueError(
      f'--remove={unknown[0]} is none of {", ".join(selection.REMOVALS)}.'
    )
  if 'shared' in options.remove and not options.evaluation:
    raise ValueError('--remove=shared needs --evaluation=FOLDER.')
  completion.check(options.complete, options.data_format)


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
  folder: str, settings: CropSettings
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


def _manifest(source: pathlib.Path, settings: CropSettings) -> dict[str, Any]:
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
  settings: CropSettings,
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
  count = before
  try:
    for record in track(
      crops.crop_photographs(
        settings, found.root, todo, folder, min(workers, len(todo))
      ),
      'photograph',
      total,
      done=before,
    ):
      done.add(record)
      count += 1
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
