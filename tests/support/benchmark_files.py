"""Files of the public benchmarks, as their authors lay them out."""

import numpy as np
from pictures import filled
from PIL import Image

from faceqat.data.benchmarks import pair_lists
from faceqat.faces.alignment import ARCFACE_TEMPLATE

SIZE = 8
# Templates 7, 9 and 12; two images of 9 are of one video.
IJB_FACES = ['1.jpg 9 100', '2.jpg 9 100', '3.jpg 7 5', 'a/4.jpg 12 100']
IJB_PAIRS = ['9 7 1', '12 9 0', '7 12 0']


def value_of(pair_set, index):
  return int(pair_set.images[int(index)][0, 0, 0])


def values(pair_set):
  return [
    (value_of(pair_set, a), value_of(pair_set, b))
    for a, b in zip(pair_set.first, pair_set.second)
  ]


def read(root, path):
  return pair_lists.read_list(root / 'images', path, SIZE)


def write_images(root, names):
  """The i-th image is filled with i."""
  for value, name in enumerate(names):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(filled(value))


def write_text(path, lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(f'{line}\n' for line in lines))
  return path


def make_calfw(tmp_path, same_label=lambda pair: 1, folders=False):
  """Ten people; person i has images 2i and 2i + 1."""
  names = [f'P_{i:c}_{j:04d}.jpg' for i in range(65, 75) for j in (1, 2)]
  place = (lambda name: f'{name[:3]}/{name}') if folders else str
  write_images(tmp_path / 'images', map(place, names))
  lines = []
  for pair in range(10):
    lines += [f'{name} {same_label(pair)}' for name in names[2 * pair :][:2]]
  for pair in range(10):
    lines += [f'{names[2 * pair]} 0', f'{names[2 * pair - 2]} 0']
  return write_text(tmp_path / 'CALFW' / 'pairs_CALFW.txt', lines)


def make_ijb(folder, faces=IJB_FACES, pairs=IJB_PAIRS, points=None):
  """Faces a pixel to the right of the template, each 10 brighter."""
  meta, crops = folder / 'meta', folder / 'loose_crop'
  landmarks = ' '.join(
    str(x) for x in (ARCFACE_TEMPLATE + np.array([1, 0])).ravel()
  )
  names = [line.split()[0] for line in IJB_FACES]
  for i, name in enumerate(names):
    path = crops / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((120, 130, 3), 10 * (i + 1), np.uint8)
    # The edge of the crop that is to be found.
    pixels[:, :1] = 255
    Image.fromarray(pixels).save(path, 'PNG')
  if points is None:
    points = [f'{name} {landmarks} 0.{i + 1}' for i, name in enumerate(names)]
  meta.mkdir(exist_ok=True)
  for name, lines in (
    ('face_tid_mid', faces),
    ('name_5pts_score', points),
    ('template_pair_label', pairs),
  ):
    (meta / f'ijbc_{name}.txt').write_text(''.join(f'{x}\n' for x in lines))
  return folder
