"""Grey photographs, lying ones, one image a person: the same answers."""

import numpy as np
import pytest
from identify_run import SIZE, find_drawn, read
from PIL import Image

from faceqat.faces import detection
from faceqat.preparation.crops import CropSettings
from faceqat.preparation.prepare import Options, prepare

pytest_plugins = ['identify_fixtures']

EXIF_ORIENTATION = 0x0112
# How a stored image is turned so that EXIF's value turns it upright.
LYING = {
  3: Image.Transpose.ROTATE_180,
  6: Image.Transpose.ROTATE_90,
  8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(autouse=True)
def _detector(monkeypatch):
  monkeypatch.setattr(detection, 'make_detector', find_drawn)


def save_rgb(pixels, path):
  Image.fromarray(pixels).save(path.with_suffix('.png'))


def save_grey(pixels, path):
  grey = Image.fromarray(pixels).convert('L')
  grey.save(path.with_suffix('.pgm'))


def save_grey_as_rgb(pixels, path):
  grey = Image.fromarray(pixels).convert('L')
  grey.convert('RGB').save(path.with_suffix('.png'))


def save_lying(pixels, path):
  orientation = sorted(LYING)[int(path.stem) % 3]
  exif = Image.Exif()
  exif[EXIF_ORIENTATION] = orientation
  image = Image.fromarray(pixels).transpose(LYING[orientation])
  image.save(path.with_suffix('.png'), exif=exif)


def photographs_of(people, root, save):
  """One image a person for the gallery, and all the probes; no square ones."""
  for part, names in (('gallery', ['0']), ('probes', ['3', '4', '5'])):
    for person in sorted((people / part).iterdir()):
      (root / part / person.name).mkdir(parents=True)
      for name in names:
        face = read(person / f'{name}.png')
        # Below the face there is a wall.
        wall = np.full((8, SIZE, 3), 90, np.uint8)
        photograph = np.concatenate([face, wall])
        save(photograph, root / part / person.name / name)
  return root


@pytest.mark.parametrize(
  ('save', 'like'), [(save_grey, save_grey_as_rgb), (save_lying, save_rgb)]
)
def test_answers_do_not_depend_on_how_a_photograph_is_stored(
  save, like, people, ask, tmp_path
):
  answers = []
  for kind in (save, like):
    root = photographs_of(people, tmp_path / kind.__name__, kind)
    rows = ask(
      root / 'out',
      gallery=root / 'gallery',
      probe=root / 'probes',
      photographs=True,
    )
    assert len(rows) == 18 * 5
    answers.append(
      [
        (row['probe'].partition('.')[0], row['person'], row['score'])
        for row in rows
      ]
    )
  assert answers[0] == answers[1]


@pytest.mark.parametrize('save', [save_grey, save_lying])
def test_people_with_one_photograph_are_prepared(save, people, tmp_path):
  root = photographs_of(people, tmp_path / 'in', save)
  out = tmp_path / 'out'
  prepare(
    str(root / 'gallery'), str(out), CropSettings(size=SIZE), Options(workers=1)
  )
  crops = sorted(out.glob('*/*.jpg'))
  assert len({crop.parent for crop in crops}) == len(crops) == 6
  for crop in crops:
    stored = read(crop)
    assert stored.shape == (SIZE, SIZE, 3)
    face = read(people / 'gallery' / crop.parent.name / '0.png').astype(int)
    if save is save_grey:
      face = face.mean(axis=2, keepdims=True)
    # Upright: otherwise they would be some 40 levels apart.
    assert np.mean(np.abs(stored - face)) < 12
