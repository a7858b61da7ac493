"""Chooses the crops of a data set: duplicates, shared people, few images.

All of these are reported, and only those that the user names are removed.
"""

import collections
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from faceqat.faces import photographs
from faceqat.files.names import similar
from faceqat.preparation import data_set, duplicates, listing, splits
from faceqat.preparation.crops import Record

REMOVALS = ('duplicates', 'shared', 'ambiguous')
Findings = dict[str, Any]


class EvaluationSet(NamedTuple):
  """The people whom a network will be evaluated on.

  Attributes:
    people: their names.
    files: person/file of each image.
    hashes: uint8 [N, 32], the perceptual hash of each.
  """

  people: list[str]
  files: list[str]
  hashes: np.ndarray


class Selection(NamedTuple):
  """The crops that are left.

  Attributes:
    people: the files of each person's crops, both sorted.
    together: groups of people who may be one.
    findings: for the report: `same_names`, `duplicates`, `shared`, `few` and
      `people_without_faces`.
  """

  people: data_set.People
  together: list[list[str]]
  findings: Findings


class _Crops(NamedTuple):
  """All crops in order: person, file, digest of the pixels, hash."""

  people: list[str]
  files: list[str]
  pixels: list[str]
  hashes: np.ndarray


def read_evaluation_set(folder: str | os.PathLike) -> EvaluationSet:
  """Reads the aligned images person/image of an evaluation set.

  Raises:
    ValueError: there is no such folder, or an image cannot be read.
  """
  found = listing.list_photographs(folder)
  hashes = [
    duplicates.perceptual_hash(
      photographs.read_photograph(found.root / photograph.name)
    )
    for photograph in found.photographs
  ]
  files = [photograph.name for photograph in found.photographs]
  return EvaluationSet(found.people, files, np.array(hashes))


def select(
  records: Sequence[Record],
  people: Sequence[str],
  *,
  evaluation: EvaluationSet | None = None,
  remove: Collection[str] = (),
  min_images: int = 1,
) -> Selection:
  """Chooses the crops of a data set.

  Of a picture that one person has several times, all but the first are
  duplicates; where several people have it, all are, as nobody can know whose it
  is. A person with a name or a picture of the evaluation set is shared.

  Args:
    records: of each photograph, see `crops.crop_photograph`.
    people: everybody in the input.
    evaluation: people whom the network must not know.
    remove: which of `REMOVALS` are removed, not only reported.
    min_images: people with fewer crops, after removals, are left out.
  """
  if 'ambiguous' in remove:
    records = [r for r in records if r['status'] != 'ambiguous']
  crops = _crops(records)
  copies = _find_duplicates(crops, 'duplicates' in remove)
  shared = _find_shared(crops, people, evaluation, 'shared' in remove)
  removed_files = {file for entry in copies for file in entry['removed']}
  removed_people = {entry['person'] for entry in shared if entry['removed']}
  kept = collections.defaultdict(list)
  for person, file in zip(crops.people, crops.files):
    if file not in removed_files and person not in removed_people:
      kept[person].append(file)
  few = {p: len(files) for p, files in kept.items() if len(files) < min_images}
  same = similar(people)
  findings = {
    'same_names': same,
    'duplicates': copies,
    'shared': shared,
    'few': [{'person': p, 'images': count} for p, count in sorted(few.items())],
    'people_without_faces': sorted({*people} - {*crops.people}),
  }
  across = [entry['people'] for entry in copies if len(entry['people']) > 1]
  left = {p: sorted(kept[p]) for p in sorted(kept) if p not in few}
  return Selection(left, same + across, findings)


def finding_lines(findings: Findings) -> list[str]:
  """The findings in words, a line each."""
  found = [f'same name: {" | ".join(g)}' for g in findings['same_names']]
  for entry in findings['duplicates']:
    several = len(entry['people']) > 1
    whose = f', {len(entry["people"])} people' if several else ''
    done = ', removed: ' + ' '.join(entry['removed'])
    found.append(
      f'{entry["kind"]} copies{whose}: {" | ".join(entry["files"])}'
      f'{done if entry["removed"] else ""}'
    )
  for entry in findings['shared']:
    reasons = [f'{a} = {b}' for a, b in entry['images']]
    if entry['name']:
      reasons.insert(0, f'is called like {entry["name"]}')
    done = ', removed' if entry['removed'] else ''
    found.append(f'shared: {entry["person"]}{done}: {" | ".join(reasons)}')
  found += [
    f'few images: {e["person"]}: {e["images"]}' for e in findings['few']
  ]
  found += [f'no face: {person}' for person in findings['people_without_faces']]
  return found


def split_selection(
  selection: Selection, shares: Sequence[float] | None, seed: int
) -> dict[str, data_set.People]:
  """The people of each split; without shares, of the split ''.

  Raises:
    ValueError: nobody is left, or a split would have nobody.
  """
  people = selection.people
  if not people:
    raise ValueError(
      'Nobody is left: every person has no face, too few images or was '
      'removed; lower min_images or remove less'
    )
  if shares is None:
    return {'': people}
  parts = splits.split_people(list(people), shares, seed, selection.together)
  return {
    name: {person: people[person] for person in members}
    for name, members in parts.items()
  }


def _crops(records: Sequence[Record]) -> _Crops:
  found = sorted(
    (crop['file'], crop['pixels'], crop['hash'])
    for record in records
    for crop in record['crops']
  )
  hashes = np.array([list(bytes.fromhex(h)) for _, _, h in found], np.uint8)
  return _Crops(
    [pathlib.PurePosixPath(file).parts[0] for file, _, _ in found],
    [file for file, _, _ in found],
    [pixels for _, pixels, _ in found],
    hashes.reshape(len(found), duplicates.HASH_BITS // 8),
  )


def _find_duplicates(crops: _Crops, remove: bool) -> list[Findings]:
  pairs = np.concatenate(
    [
      duplicates.equal_pairs(crops.pixels),
      duplicates.near_pairs(crops.hashes),
    ]
  )
  found = []
  for places in duplicates.group(len(crops.files), pairs):
    files = [crops.files[place] for place in places]
    people = sorted({crops.people[place] for place in places})
    exact = len({crops.pixels[place] for place in places}) == 1
    unwanted = files if len(people) > 1 else files[1:]
    found.append(
      {
        'kind': 'exact' if exact else 'near',
        'people': people,
        'files': files,
        'removed': unwanted if remove else [],
      }
    )
  return found


def _find_shared(
  crops: _Crops,
  people: Sequence[str],
  evaluation: EvaluationSet | None,
  remove: bool,
) -> list[Findings]:
  if evaluation is None:
    return []
  names = splits.shared_by_name(people, evaluation.people)
  images = collections.defaultdict(list)
  for mine, theirs in duplicates.near_pairs(crops.hashes, evaluation.hashes):
    same = [crops.files[mine], evaluation.files[theirs]]
    images[crops.people[mine]].append(same)
  return [
    {
      'person': person,
      'name': names.get(person, ''),
      'images': images.get(person, []),
      'removed': remove,
    }
    for person in sorted({*names, *images})
  ]
