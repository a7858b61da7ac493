"""Runs the command `identify` in a test, on drawn people."""

import csv
import types

import numpy as np
from PIL import Image

from faceqat import identify
from faceqat.calibration.lower import lower
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.faces.detection import Face
from faceqat.identification import embedders
from faceqat.integer import program as integer_program

SIZE = 32

_PATHS = ('gallery', 'probe', 'save_gallery', 'add', 'calibration')
# Those of the template, for a face of 32 pixels.
_POINTS = np.array(
  [[10.9, 14.8], [21.0, 14.7], [16.0, 20.5], [11.9, 26.4], [20.2, 26.3]]
)


def draw_people(root):
  """Folders of six people, three images each in `gallery` and in `probes`."""
  faces = SyntheticFaces(6, 6, image_size=SIZE, seed=4)
  for index, label in enumerate(faces.labels):
    part = 'gallery' if index % 6 < 3 else 'probes'
    folder = root / part / faces.class_names[label]
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(faces[index]['image']).save(folder / f'{index % 6}.png')
  return root


def write_program(workdir, path):
  """The program of a run: its commands need not restore a checkpoint."""
  network = embedders.load(workdir, 'float').network
  integer_program.save(lower(network), path)
  return path


def read(path):
  with Image.open(path) as image:
    return np.asarray(image)


def run_it(monkeypatch, model, out, **changes):
  """Runs the command with some flags; gives the rows of predictions.csv."""
  args = {
    'gallery': None,
    'probe': None,
    'k': 5,
    'prototypes': False,
    'reading': None,
    'step': 'latest',
    'contract': 'tflite_ref',
    'save_gallery': None,
    'add': None,
    'int8': False,
    'threshold': None,
    'false_positive_rate': None,
    'calibration': None,
    'photographs': False,
    'faces': 'largest',
    'detector': None,
    'stored_size': None,
    'held_out': 0,
    'config': None,
    'batch_size': 16,
    'sheet_rows': 1,
    'model': str(model),
    'out': str(out),
    **{
      name: str(value) if name in _PATHS else value
      for name, value in changes.items()
    },
  }
  monkeypatch.setattr(
    identify,
    'flags',
    types.SimpleNamespace(FLAGS=types.SimpleNamespace(**args)),
  )
  identify.main()
  path = out / 'predictions.csv'
  if not path.exists():
    return None
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


def table_of(printed):
  """The last row of the table that was printed, by column."""
  lines = printed.splitlines()
  at = next(i for i, line in enumerate(lines) if line.startswith('reading '))
  bars = lines[at + 1]
  ends = [
    i for i, c in enumerate(f'{bars} ') if c == ' ' and bars[i - 1] == '-'
  ]
  starts = [0, *(end + 2 for end in ends[:-1])]
  return {
    lines[at][a:b].strip(): lines[at + 2][a:b].strip()
    for a, b in zip(starts, ends)
  }


def find_drawn(model=None, min_score=0.6):
  """A detector of drawn faces: one for each 32 pixels of width."""
  del model, min_score

  def detect(image):
    if not image.any():
      return []
    return [
      Face(
        np.array([left, 0, SIZE, SIZE], float),
        _POINTS + np.array([left, 0]),
        score=0.9,
      )
      for left in range(0, image.shape[1], SIZE)
    ]

  return detect
