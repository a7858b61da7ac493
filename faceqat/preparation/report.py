"""The report of a preparation: `prepare.json`, `prepare.txt`, `missed.png`."""

import collections
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from faceqat.faces import photographs
from faceqat.files import atomic, decoding, strict_json
from faceqat.preparation import completion, crops, data_set, listing, selection

REPORT, DETAILS, MISSED = 'prepare.json', 'prepare.txt', 'missed.png'
_MEANINGS = {
  'found': '',
  'ambiguous': 'another face might be meant',
  'missed': 'no face',
  'unreadable': 'no photograph, or damaged',
}
_MAX_PICTURES, _COLUMNS, _PICTURE = 40, 8, 112


def make_report(
  options: Mapping[str, Any],
  found: listing.Listing,
  records: Sequence[crops.Record],
  chosen: selection.Selection,
  parts: Mapping[str, data_set.People],
  made: Mapping[str, completion.Plan],
) -> dict[str, Any]:
  """The content of `prepare.json`.

  Args:
    options: what the user asked for.
    found: the input.
    records: of every photograph.
    chosen: what was found in the crops.
    parts: by split, the crops that were written.
    made: by split, the images that were made; `images` counts them too.
  """
  statuses = collections.Counter(record['status'] for record in records)
  counts = {
    'people': len(found.people),
    'photographs': len(records),
    **{status: statuses[status] for status in crops.STATUSES},
    'ignored': len(found.ignored),
    'crops': sum(len(record['crops']) for record in records),
  }
  shown = ('photograph', 'status', 'reason', 'faces')
  return {
    'options': dict(options),
    'counts': counts,
    'splits': {
      name: {
        'people': list(people),
        'images': sum(map(len, people.values()))
        + sum(map(len, made.get(name, {}).values())),
        'made': {
          person: len(images) for person, images in made.get(name, {}).items()
        },
      }
      for name, people in parts.items()
    },
    **chosen.findings,
    'ignored': found.ignored,
    'photographs': [
      {name: record[name] for name in shown}
      | {
        'crops': [
          {name: crop[name] for name in ('file', 'box', 'score')}
          for crop in record['crops']
        ]
      }
      for record in records
    ],
  }


def write_report(report: Mapping[str, Any], folder: str | os.PathLike):
  """Writes `prepare.json`, and `prepare.txt` with a line for each finding.

  Args:
    report: of `make_report`.
    folder: holds the rest of the data set, which is listed in `prepare.json`.
  """
  folder = pathlib.Path(folder)
  names = {entry.name for entry in folder.iterdir()} | {REPORT, DETAILS}
  text = json.dumps({**report, 'written': sorted(names)}, indent=1)
  atomic.write(folder / REPORT, f'{text}\n'.encode())
  lines = [
    f'{entry["status"]}: {entry["photograph"]}'
    + (f': {entry["reason"]}' if entry['reason'] else '')
    for entry in report['photographs']
    if entry['status'] != 'found'
  ]
  lines += [
    f'ignored: {name}{" (a folder)" if name.endswith("/") else ""}'
    for name in report['ignored']
  ]
  lines += selection.finding_lines(report)
  lines += [
    f'made: {person}: {count}'
    for part in report['splits'].values()
    for person, count in part['made'].items()
  ]
  content = '\n'.join([summary(report), '', *lines, ''])
  atomic.write(folder / DETAILS, content.encode())


def not_written(folder: str | os.PathLike) -> list[str]:
  """The names in a folder that are not of a data set prepared there."""
  folder = pathlib.Path(folder)
  try:
    written = strict_json.parse((folder / REPORT).read_bytes(), dict)['written']
  except (FileNotFoundError, ValueError, KeyError, TypeError):
    written = []
  return sorted({entry.name for entry in folder.iterdir()} - {*written})


def summary(report: Mapping[str, Any]) -> str:
  """The table that is printed at the end of a preparation."""
  counts = report['counts']
  rows = [['photographs', f'{counts["photographs"]:,}', '']]
  for status, meaning in _MEANINGS.items():
    rows.append([f'  {status}', f'{counts[status]:,}', meaning])
  folders = sum(name.endswith('/') for name in report['ignored'])
  note = f'ignored; {folders:,} of them folders' if folders else 'ignored'
  if heic := decoding.about_heic(report['ignored']):
    note += f'; {heic}'
  rows.append(['other files', f'{counts["ignored"]:,}', note])
  rows.append(['crops', f'{counts["crops"]:,}', f'{counts["people"]:,} people'])
  copies, shared = report['duplicates'], report['shared']
  if copies:
    across = sum(len(entry['people']) > 1 for entry in copies)
    note = f'{across:,} of them over several people, '
    rows.append(['pictures twice', f'{len(copies):,}', note + _removed(copies)])
  if shared:
    note = f'people of the evaluation set, {_removed(shared)}'
    rows.append(['shared', f'{len(shared):,}', note])
  for name, meaning in (
    ('same_names', 'kept as different people'),
    ('few', 'people left out'),
    ('people_without_faces', 'people left out'),
  ):
    if report[name]:
      title = name.replace('_', ' ')
      rows.append([title, f'{len(report[name]):,}', meaning])
  for name, part in report['splits'].items():
    people = f'images of {len(part["people"]):,} people written'
    rows.append([name or 'data set', f'{part["images"]:,}', people])
    if part['made']:
      note = f'of these made of others, for {len(part["made"]):,} people'
      rows.append(['  made', f'{sum(part["made"].values()):,}', note])
  width = max(len(title) for title, _, _ in rows)
  return '\n'.join(
    f'{title:{width}}  {count:>9}  {note}'.rstrip()
    for title, count, note in rows
  )


def write_missed_picture(
  records: Sequence[crops.Record],
  root: str | os.PathLike,
  folder: str | os.PathLike,
):
  """Draws the first photographs without a face; removes an older picture."""
  path = pathlib.Path(folder) / MISSED
  path.unlink(missing_ok=True)
  missed = [r['photograph'] for r in records if r['status'] == 'missed']
  if not missed:
    return
  from faceqat.report.contact_sheet import Tile, contact_sheet

  tiles = []
  for name in missed[:_MAX_PICTURES]:
    image = photographs.read_photograph(pathlib.Path(root) / name)
    small = ImageOps.pad(Image.fromarray(image), (_PICTURE, _PICTURE))
    tiles.append(Tile(np.asarray(small), tuple(name.split('/'))))
  rows = [
    (tiles[start], tiles[start + 1 : start + _COLUMNS])
    for start in range(0, len(tiles), _COLUMNS)
  ]
  more = f', the first {len(tiles)}' if len(missed) > len(tiles) else ''
  title = f'{len(missed)} photographs without a face{more}'
  contact_sheet(rows, title, path)


def _removed(entries: Sequence[Mapping[str, Any]]) -> str:
  return 'removed' if any(e['removed'] for e in entries) else 'not removed'
