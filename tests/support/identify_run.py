"""Identifies drawn people in a test, and prints what the command does."""

import csv

import numpy as np
from PIL import Image

from benchmarks import page_tables
from faceqat.calibration.lower import lower
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.faces.detection import Face
from faceqat.identification import embedders
from faceqat.identification.identify import identify
from faceqat.identification.settings import Settings
from faceqat.identify import show
from faceqat.integer import program as integer_program

SIZE = 32

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


def run_it(model, out, gallery=None, probe=None, **changes):
  """Identifies under some settings; gives the rows of predictions.csv."""
  settings = Settings(out=out, **{'batch_size': 16, 'sheet_rows': 1, **changes})
  show(identify(model, gallery, probe, settings), settings)
  path = out / 'predictions.csv'
  if not path.exists():
    return None
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


def table_of(printed):
  """The row of the table that was printed, by column."""
  start = printed.index('\nprecision ')
  return page_tables.read_rows(printed[start:])[0].cells


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
