"""Writes answers to files: a CSV table and a simple text form."""

import csv
import io
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from faceqat.files import atomic, folders
from faceqat.identification.answers import UNKNOWN, Answers
from faceqat.identification.face_files import LeftOut

COLUMNS = (
  *('probe', 'rank', 'person', 'gallery_image', 'score', 'accepted'),
  *('margin', 'not_usable'),
)
# A spreadsheet takes a cell that begins so for a formula, and runs it.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ('=', '+', '-', '@', '\t', '\r', '\n')


def write(answers: Answers, out: pathlib.Path) -> None:
  """Writes `predictions.csv` and `predictions.txt` to a folder that exists."""
  write_csv(answers, out / 'predictions.csv')
  write_text(answers, out / 'predictions.txt')


def write_csv(answers: Answers, path: pathlib.Path) -> None:
  """Writes a line for every answer, the best of a probe first.

  The image is empty for a prototype, and `accepted` without a threshold. The
  margin is that of the nearest person before the second one, in the first line
  of a probe. `not_usable` says why a face cannot be recognised: it is not
  accepted as anybody.
  """
  rows = []
  for p, probe in enumerate(answers.probes):
    for k, cosine in enumerate(answers.matches.cosines[p]):
      decides = answers.threshold is not None or answers.refused[p]
      decision = str(bool(answers.accepted[p, k])).lower()
      margin = '' if k or np.isnan(answers.margins[p]) else answers.margins[p]
      rows.append(
        (
          as_cell(probe),
          k + 1,
          as_cell(answers.person(p, k)),
          as_cell(answers.image(p, k)),
          # Scores of integers are multiples of 2^-29, which nine decimals tell
          # apart.
          f'{cosine:.9f}',
          decision if decides else '',
          margin if margin == '' else f'{margin:.9f}',
          answers.not_usable[p] if answers.not_usable else '',
        )
      )
  _write_table(path, COLUMNS, rows)


def write_text(answers: Answers, path: pathlib.Path) -> None:
  """Writes `probe predicted score`, one line a probe.

  Spaces in a name become `_`, so that a line always has three words. The
  prediction for whoever is not accepted is `unknown`.
  """
  lines = []
  for p, probe in enumerate(answers.probes):
    predicted = answers.person(p, 0) if answers.accepted[p, 0] else UNKNOWN
    words = ('_'.join(name.split()) for name in (probe, predicted))
    lines.append(f'{" ".join(words)} {answers.matches.cosines[p, 0]:.9f}\n')
  atomic.write(path, ''.join(lines).encode())


def write_left_out(left_out: Sequence[LeftOut], out: pathlib.Path) -> None:
  """Writes `left_out.csv`, the images that were not used, where there are any.

  The folder is made.
  """
  path = folders.make(out) / 'left_out.csv'
  # That of an earlier run would be taken for this one's.
  path.unlink(missing_ok=True)
  if left_out:
    rows = [tuple(map(as_cell, line)) for line in left_out]
    _write_table(path, ('image', 'reason'), rows)


def as_cell(name: str) -> str:
  """A name in one line, with a `'` before a formula of a spreadsheet.

  >>> as_cell('=1+1')
  "'=1+1"
  """
  line = name.replace('\r', ' ').replace('\n', ' ')
  return f"'{line}" if name.startswith(_FORMULA_STARTS) else line


def _write_table(
  path: pathlib.Path, titles: Sequence[str], rows: Iterable[Sequence]
):
  text = io.StringIO()
  csv.writer(text, lineterminator='\n').writerows([titles, *rows])
  atomic.write(path, text.getvalue().encode())
