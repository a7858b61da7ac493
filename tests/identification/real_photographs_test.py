"""Photographs to names, by the network that comes with faceqat."""

import pathlib

import real_data
from identify_run import run_it
from PIL import Image

from faceqat.faces import detection, photographs

PHOTOS = real_data.path('data/photos')
EXIF_ORIENTATION = 0x0112


def orl_like(path: pathlib.Path) -> Image.Image:
  """A head alone, grey, of 92 x 112 pixels, as AT&T's database has them."""
  photo = photographs.read_photograph(path)
  left, top, width, height = detection.make_detector()(photo)[0].box
  half = 0.7 * max(width / 92, height / 112)
  x, y = left + width / 2, top + height / 2
  box = [x - 46 * half, y - 56 * half, x + 46 * half, y + 56 * half]
  head = Image.fromarray(photo).crop([round(side) for side in box])
  return head.convert('L').resize((92, 112))


def lying(image: Image.Image, path: pathlib.Path):
  """Saves a photograph as a camera that was held upright does."""
  exif = Image.Exif()
  exif[EXIF_ORIENTATION] = 6
  image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


@real_data.needs(PHOTOS)
def test_two_folders_of_photographs_go_in_and_names_come_out(tmp_path):
  people = sorted(PHOTOS.iterdir())[:4]
  for person in people:
    first, *others = sorted(person.iterdir())[:4]
    gallery, probes = (tmp_path / part for part in ('gallery', 'probes'))
    for part in (gallery, probes):
      (part / person.name).mkdir(parents=True)
    (gallery / person.name / first.name).write_bytes(first.read_bytes())
    plain, turned, small = others
    folder = probes / person.name
    with Image.open(plain) as image:
      image.convert('L').save(folder / 'grey.pgm')
    with Image.open(turned) as image:
      lying(image, folder / 'turned.jpg')
    orl_like(small).save(folder / 'small.pgm')
  rows = run_it(
    'sface_int8',
    tmp_path / 'out',
    gallery=gallery,
    probe=probes,
    photographs=True,
    k=1,
    batch_size=4,
  )
  assert [row['probe'] for row in rows] == [
    f'{person.name}/{name}'
    for person in people
    for name in ('grey.pgm', 'small.pgm', 'turned.jpg')
  ]
  assert [row['person'] for row in rows] == [
    person.name for person in people for _ in range(3)
  ]
