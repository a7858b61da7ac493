"""Turns photographs into what other cameras write.

  python -m benchmarks.camera_forms --form=exif --images=PEOPLE --out=OUT

From a folder `person/image` to another one of the same names:

* `grey`: greyscale, `.pgm`;
* `exif`: JPEG, stored lying or mirrored, with the EXIF orientation (2 to 8 in
  turn) that sets it right;
* `orl`: of aligned faces, in the form of the ORL (AT&T) faces: the middle 92
  columns of 112x112, greyscale, `.pgm`.
"""

import os
import pathlib

from absl import flags
from PIL import Image, ImageOps

from faceqat import command

_JPEG_QUALITY = 95
_ORL_WIDTH = 92
_ORIENTATION = 0x0112
# What stores a picture so that a reader who applies the orientation sees it
# upright: the inverse of what the reader does.
_STORED = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_90,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_270,
}


def define_flags():
  flags.DEFINE_enum('form', None, sorted(_WRITERS), 'What is made.')
  flags.DEFINE_string('images', None, 'Folder person/image.')
  flags.DEFINE_string('out', None, 'Folder that is made.')
  flags.DEFINE_integer('most', None, 'Images of a person; all if left out.')
  flags.mark_flags_as_required(['form', 'images', 'out'])


def make(
  form: str,
  images: str | os.PathLike,
  out: str | os.PathLike,
  most: int | None = None,
) -> int:
  """Writes every image in another form; gives their number.

  Args:
    form: 'grey', 'exif' or 'orl'.
    images: a folder with a folder for each person.
    out: made if missing.
    most: of a person, in the order of their names.

  Raises:
    ValueError: there is no image.
  """
  count = 0
  for person in sorted(pathlib.Path(images).iterdir()):
    for path in sorted(person.iterdir())[:most] if person.is_dir() else ():
      with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert('RGB')
      folder = pathlib.Path(out, person.name)
      folder.mkdir(parents=True, exist_ok=True)
      _WRITERS[form](upright, folder / path.stem, count)
      count += 1
  if not count:
    raise ValueError(f'{os.fspath(images)} has no image person/image in it')
  return count


def _write_grey(image, path, count):
  del count
  image.convert('L').save(f'{path}.pgm')


def _write_lying(image, path, count):
  orientation = 2 + count % len(_STORED)
  exif = Image.Exif()
  exif[_ORIENTATION] = orientation
  image.transpose(_STORED[orientation]).save(
    f'{path}.jpg', quality=_JPEG_QUALITY, exif=exif
  )


def _write_orl(image, path, count):
  left = (image.width - _ORL_WIDTH) // 2
  middle = image.crop((left, 0, left + _ORL_WIDTH, image.height))
  _write_grey(middle, path, count)


_WRITERS = {'grey': _write_grey, 'exif': _write_lying, 'orl': _write_orl}


def main():
  args = flags.FLAGS
  count = make(args.form, args.images, args.out, args.most)
  print(f'{args.out}: {count} images')


if __name__ == '__main__':
  define_flags()
  command.run(main)
