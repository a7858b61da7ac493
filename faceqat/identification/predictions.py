"""Writes answers to files: a CSV table and a simple text form."""

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from faceqat.files import atomic

COLUMNS = ('probe', 'rank', 'person', 'gallery_image', 'score', 'accepted')
# Who is not accepted; no person of a gallery may be called so.
UNKNOWN = 'unknown'
# A spreadsheet takes a cell that begins so for a formula, and runs it.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ('=', '+', '-', '@', '\t', '\r', '\n')


def as_cell(name: str) -> str:
  """A name for a CSV file: one line, and a `'` before what were a formula."""
  line = name.replace('\r', ' ').replace('\n', ' ')
  return f"'{line}" if name.startswith(_FORMULA_STARTS) else line


def write_csv(
  path: str | os.PathLike,
  probes: Sequence[str],
  people: Sequence[Sequence[str]],
  images: Sequence[Sequence[str]],
  cosines: np.ndarray,
  accepted: np.ndarray | None,
) -> None:
  """Writes a line for every answer, the best of a probe first.

  Names go through `as_cell`, as folders and files may be called anything.

  Args:
    path: in a folder that exists.
    probes: P names.
    people: [P][k] names.
    images: [P][k] the gallery's images that were nearest; '' for a prototype.
    cosines: [P, k]. Scores of integers are multiples of 2^-29, which the nine
      decimals tell apart.
    accepted: bool [P, k], score >= threshold; None without a threshold, where
      the column is empty.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(COLUMNS)
  for p, probe in enumerate(probes):
    for k, cosine in enumerate(cosines[p]):
      decision = '' if accepted is None else str(bool(accepted[p, k])).lower()
      writer.writerow(
        [
          as_cell(probe),
          k + 1,
          as_cell(people[p][k]),
          as_cell(images[p][k]),
          f'{cosine:.9f}',
          decision,
        ]
      )
  atomic.write(path, text.getvalue().encode())


def write_text(
  path: str | os.PathLike,
  probes: Sequence[str],
  people: Sequence[Sequence[str]],
  cosines: np.ndarray,
  accepted: np.ndarray | None,
) -> None:
  """Writes `probe predicted score`, one line a probe.

  Spaces in a name become `_`, so that a line always has three words; whoever
  is not accepted is predicted `unknown`. Arguments are those of `write_csv`.
  """
  lines = []
  for p, probe in enumerate(probes):
    known = accepted is None or accepted[p, 0]
    predicted = people[p][0] if known else UNKNOWN
    words = ('_'.join(name.split()) for name in (probe, predicted))
    lines.append(f'{" ".join(words)} {cosines[p, 0]:.9f}\n')
  atomic.write(path, ''.join(lines).encode())
