"""Makes a data set of photographs: cuts faces out, chooses and writes them."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from faceqat.command import option
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
  splits,
)
from faceqat.preparation.crops import CropSettings
from faceqat.progress import note, track

# Of a crop, in pixels.
_LEAST, _MOST = 16, 1024


@dataclasses.dataclass(frozen=True)
class Options:
  """Which crops are taken, and how they are written."""

  format: str = option('folder', 'What OUT holds.', choices=data_set.FORMATS)
  split: Sequence[str] | None = option(
    None,
    'Per cent of the people in train, validation and test, such as 80,10,10; '
    'nobody is in two of them.',
  )
  seed: int = option(0, 'Of the split, and of the images that are made.')
  min_images: int = option(1, 'Leave out people with fewer crops.', least=1)
  complete: int = option(
    0,
    'Give people with fewer crops so many, by images made of theirs (mirrored, '
    'shifted, lighter or darker; NAME.made1.jpg); not in validation and test. '
    '0: nobody.',
    least=0,
  )
  evaluation: str = option(
    '',
    'Folder person/image of aligned faces, as LFW: who is there too, by name '
    'or by picture, is reported.',
  )
  remove: Sequence[str] = option(
    (),
    'What not to take over: duplicates, shared (people of --evaluation), '
    'ambiguous (photographs where another face might be meant).',
  )
  workers: int = option(0, 'Processes; 0: one for each core.', least=0)


def prepare(
  source: str | os.PathLike,
  out: str | os.PathLike,
  settings: CropSettings,
  options: Options,
) -> dict[str, Any]:
  """Makes a data set of photographs.

  Args:
    source: a folder or an archive.
    out: the folder to make; one that was prepared before is replaced. The
      crops are kept in `out`.work.
    settings: how faces are found and cut out.
    options: which crops are taken, and how they are written.

  Returns:
    The content of `prepare.json` (`report.make_report`).

  Raises:
    ValueError: there are no photographs or no faces, the archive is not safe,
      `out` holds something else, or its crops were made with other settings.
  """
  source, out = pathlib.Path(source), pathlib.Path(out)
  _check_options(settings, options)
  shares = splits.parse_shares(options.split) if options.split else None
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
  parts = selection.split_selection(chosen, shares, options.seed)
  made = completion.plan(parts, options.complete)
  asked = _described(source, settings, options, shares)
  outcome = report.make_report(asked, found, records, chosen, parts, made)
  temporary = atomic.temporary_name(out)
  temporary.mkdir()
  try:
    for name, people in parts.items():
      path = data_set.write_set(
        people, work / 'crops', temporary, name, options.format, settings.size
      )
      completion.write_images(made.get(name, {}), path, options.seed)
      fingerprint.write(settings.fingerprint, path)
      if options.format == 'folder' and name not in ('', 'train'):
        data_set.write_pairs(people, path, options.seed)
    report.write_report(outcome, temporary)
    atomic.replace_folder(temporary, out)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  # Temporary folders of runs that were killed.
  atomic.clear(out.parent, out.name)
  return outcome


def _find_faces(
  source: pathlib.Path,
  work: pathlib.Path,
  settings: CropSettings,
  workers: int,
) -> tuple[listing.Listing, list[crops.Record]]:
  """Cuts out all faces that are not cut out yet.

  Returns:
    The photographs, and the record of each.
  """
  folder = source
  with (
    _removed_if_useless(work),
    journal.Journal(work, _manifest(source, settings)) as done,
  ):
    if archive.is_archive(source):
      folder = work / 'photographs'
      if not folder.exists():
        note(f'unpacking {source}')
        archive.unpack(source, folder)
    found = listing.list_photographs(folder)
    _crop(settings, found, work / 'crops', done, workers or os.cpu_count() or 1)
    records = [done.find(photograph) for photograph in found.photographs]
  # In the data set it would be taken for one of its images.
  report.write_missed_picture(records, found.root, work)
  if not any(record['crops'] for record in records):
    first = next((r['reason'] for r in records if r['reason']), '')
    raise ValueError(
      f'None of the {len(records)} photographs in {source} has a face that '
      f'could be cut out ({records[0]["photograph"]}: {first})'
    )
  return found, records


@contextlib.contextmanager
def _removed_if_useless(work: pathlib.Path) -> Iterator[None]:
  """Removes a new folder after an error that comes before any photograph."""
  was_there = work.exists()
  try:
    yield
  except BaseException:
    if not was_there and not journal.has_records(work):
      shutil.rmtree(work, ignore_errors=True)
    raise


def _described(
  source: pathlib.Path,
  settings: CropSettings,
  options: Options,
  shares: Sequence[float] | None,
) -> dict[str, Any]:
  """The settings and options as `prepare.json` has them."""
  return {
    'source': os.fspath(source),
    'alignment': settings.template,
    'size': to_json(settings.size),
    'faces': settings.faces,
    'format': options.format,
    'shares': shares,
    'seed': options.seed,
    'min_images': options.min_images,
    'complete': options.complete,
    'evaluation': options.evaluation,
    'remove': sorted(options.remove),
  }


def _check_options(settings: CropSettings, options: Options):
  """Refuses wrong options before anything is read."""
  if not all(_LEAST <= side <= _MOST for side in settings.size):
    raise ValueError(
      f'--size is {to_text(settings.size)}, wanted {_LEAST} to {_MOST} pixels'
    )
  unknown = sorted({*options.remove} - {*selection.REMOVALS})
  if unknown:
    raise ValueError(
      f'--remove={unknown[0]} is none of {", ".join(selection.REMOVALS)}'
    )
  if 'shared' in options.remove and not options.evaluation:
    raise ValueError('--remove=shared needs --evaluation=FOLDER')
  completion.check_format(options.complete, options.format)


def _check_places(source: pathlib.Path, out: pathlib.Path):
  """Refuses to overwrite foreign files, or to write among the photographs."""
  if not source.is_dir() and not (
    source.is_file() and archive.is_archive(source)
  ):
    fault = (
      f'{source} is a file' if source.exists() else f'There is no {source}'
    )
    raise ValueError(
      f'{fault}: wanted a folder, or an archive '
      f'({", ".join(archive.SUFFIXES)}), with a folder of photographs for each '
      'person'
    )
  if out.suffix in ('.rec', '.array_record'):
    raise ValueError(
      f'OUT is {out}, wanted a folder: --format=recordio writes train.rec '
      'into it, --format=arrayrecord train.array_record'
    )
  inner, outer = out.resolve(), source.resolve()
  if inner == outer or outer in inner.parents or inner in outer.parents:
    raise ValueError(
      f'OUT is {out} and the photographs are in {source}: give a folder that '
      'is not inside of the other'
    )
  if not out.parent.is_dir():
    raise ValueError(f'There is no folder {out.parent} for {out}: make it')
  if not out.exists():
    return
  if not out.is_dir():
    raise ValueError(f'{out} is a file: give a folder to make')
  # Whatever is there will be removed.
  foreign = report.not_written(out)
  if foreign:
    raise ValueError(
      f'{out} has {foreign[0]!r}, which no preparation has put there: move it '
      'away, or give another OUT'
    )


def _read_evaluation(
  folder: str, settings: CropSettings
) -> selection.EvaluationSet | None:
  if not folder:
    return None
  # Only pictures that are cut out alike can be compared.
  fingerprint.check(
    fingerprint.read(folder),
    settings.fingerprint,
    folder,
    f'--alignment={settings.alignment}',
  )
  return selection.read_evaluation_set(folder)


def _manifest(source: pathlib.Path, settings: CropSettings) -> dict[str, Any]:
  """The settings of the crops, in full."""
  weights = pathlib.Path(settings.detector or detection.packaged_weights())
  if not weights.is_file():
    raise ValueError(f'There is no detector {weights}')
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
  """Crops the photographs that are not in the journal; prints progress."""
  todo = [
    photograph
    for photograph in found.photographs
    if not _is_done(done.find(photograph), folder)
  ]
  total, before = len(found.photographs), len(found.photographs) - len(todo)
  if before:
    note(f'{before} of {total} photographs are done')
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
  """Whether there is a record, and all of its crops are there."""
  return record is not None and all(
    (folder / crop['file']).is_file() for crop in record['crops']
  )
