"""Notes which photographs are done, so that a stopped preparation goes on.

A folder holds `manifest.json`, the settings of all its crops, and
`journal.jsonl` with a line for each photograph that is done. A line is written
after the crops that it names, so the journal is true whenever a run ends.
"""

import json
import os
import pathlib
from typing import Any

from faceqat.files import atomic, strict_json
from faceqat.preparation import listing
from faceqat.preparation.crops import Record

_MANIFEST, _JOURNAL = 'manifest.json', 'journal.jsonl'


def has_records(folder: pathlib.Path) -> bool:
  """Whether a photograph is done, and a run would go on from there."""
  path = folder / _JOURNAL
  return path.exists() and path.stat().st_size > 0


class Journal:
  """The records of photographs that are done, by name; a context."""

  def __init__(self, folder: str | os.PathLike, settings: dict[str, Any]):
    """Opens the journal of a folder, or begins one.

    Args:
      folder: made if it is not there.
      settings: whatever decides on the crops, ready for JSON.

    Raises:
      ValueError: the folder was made with other settings, holds something
        else, or is damaged.
    """
    self._folder = pathlib.Path(folder)
    self._folder.mkdir(parents=True, exist_ok=True)
    self._check_manifest(settings)
    self._path = self._folder / _JOURNAL
    self._records = self._read()

  def __enter__(self) -> 'Journal':
    self._file = open(self._path, 'a', encoding='utf-8')
    return self

  def __exit__(self, *_):
    self._file.close()

  def add(self, record: Record):
    """Notes that a photograph is done."""
    self._records[record['photograph']] = record
    self._file.write(f'{json.dumps(record)}\n')
    self._file.flush()

  def find(self, photograph: listing.Photograph) -> Record | None:
    """The record of a photograph that is done and has not changed since."""
    record = self._records.get(photograph.name)
    if record is None:
      return None
    noted = [record[name] for name in ('crop', 'size', 'modified')]
    return record if noted == list(photograph[2:]) else None

  def _check_manifest(self, settings: dict[str, Any]):
    path = self._folder / _MANIFEST
    if not path.exists():
      if any(self._folder.iterdir()):
        raise ValueError(
          f'{self._folder} is there and was not made by a preparation: move it '
          'away, or give another output folder'
        )
      atomic.write(path, json.dumps(settings, indent=2).encode())
      return
    try:
      made_with = strict_json.parse(path.read_bytes(), dict)
    except ValueError as error:
      raise self._damaged(path, error) from error
    for name in sorted({*settings, *made_with}):
      before, now = made_with.get(name), settings.get(name)
      if before != now:
        raise ValueError(
          f'{self._folder} was made with {name} {before!r}, and now it is '
          f'{now!r}: give the same, or another output folder, or remove '
          f'{self._folder} to begin anew'
        )

  def _read(self) -> dict[str, Record]:
    if not self._path.exists():
      return {}
    content = self._path.read_bytes()
    # The last line of a run that was killed may be part of one.
    whole = content[: content.rfind(b'\n') + 1]
    if len(whole) < len(content):
      atomic.write(self._path, whole)
    try:
      records = [strict_json.parse(line, dict) for line in whole.splitlines()]
      return {record['photograph']: record for record in records}
    except (ValueError, KeyError, TypeError) as error:
      raise self._damaged(self._path, error) from error

  def _damaged(self, path: pathlib.Path, error: Exception) -> ValueError:
    return ValueError(
      f'{path} is damaged ({error}): remove the folder {self._folder}, and '
      'everything is prepared again'
    )
