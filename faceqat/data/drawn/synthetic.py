"""Synthetic faces: drawn people, for trying everything out without any data.

A person is a set of proportions and colours, an image of them a pose, a light,
an expression and surroundings; both are drawn from the seed alone. The faces
are no substitute for real ones: they are there so that training, quantization,
export and every test run anywhere, and are hard enough that a network has to
learn something that raw pixels do not say.

  python -m faceqat.data.drawn.synthetic faces.png

writes a contact sheet: one row a person, one column an image of them.
"""

import functools

import numpy as np
from absl import flags
from PIL import Image

from faceqat import command
from faceqat.data.drawn import face_drawing, face_parameters
from faceqat.fields import check_value, whole_from
from faceqat.files.image_size import ImageSize, height_width

# Images are kept once drawn, up to this many bytes of them in a source.
_CACHE_BYTES = 2**30


@functools.lru_cache(maxsize=4096)
def _person_and_outlines(seed, person):
  looks = face_parameters.sample_person(seed, person)
  return looks, face_drawing.make_outlines(looks)


class SyntheticFaces:
  """A labelled source of drawn faces.

  `source[i]` depends on the seed, the person and the number of the image of
  that person only: not on the order of access, the process, the number of
  people or of images. An image is kept once it is drawn, while all of them
  would fit a GiB. It is thread-safe, and pickles without its images.

  Attributes:
    labels: [N] int32, 0 .. num_people - 1.
    class_names: one name per label.
  """

  def __init__(
    self,
    num_people: int,
    images_per_person: int,
    image_size: ImageSize = 112,
    seed: int = 0,
    first_person: int = 0,
  ):
    """Makes people `first_person` .. `first_person + num_people - 1`.

    Args:
      num_people: number of people, at least 2.
      images_per_person: images of each, at least 1.
      image_size: height and width in pixels; of an oblong one, it is the middle
        of a square of the longer side.
      seed: another seed gives other people.
      first_person: number of the first person; sources with the same seed and
        ranges that do not overlap have no person in common.

    Raises:
      ValueError: a number is out of its range.
    """
    for name, value, least in (
      ('num_people', num_people, 2),
      ('images_per_person', images_per_person, 1),
      ('seed', seed, 0),
      ('first_person', first_person, 0),
    ):
      check_value(f'SyntheticFaces: {name}', value, whole_from(least))
    self.num_people = num_people
    self.images_per_person = images_per_person
    self.image_size = height_width(image_size)
    self.seed = seed
    self.first_person = first_person
    self.labels = np.repeat(
      np.arange(num_people, dtype=np.int32), images_per_person
    )
    self.class_names = [
      f'person_{first_person + k:06d}' for k in range(num_people)
    ]

    self._cache: dict[int, np.ndarray] = {}

  def __getstate__(self) -> dict:
    return {**self.__dict__, '_cache': {}}

  def __len__(self) -> int:
    return len(self.labels)

  def _locate(self, index):
    if not -len(self) <= index < len(self):
      raise IndexError(
        f'SyntheticFaces has {len(self)} images; there is no image {index}'
      )
    return divmod(int(index) % len(self), self.images_per_person)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """{'image': [H, W, 3] uint8 RGB, 'label': int32}."""
    label, image = self._locate(index)
    key = label * self.images_per_person + image
    pixels = self._cache.get(key)
    if pixels is None:
      pixels = self._draw(label, image)
      pixels.flags.writeable = False
      if len(self) * pixels.nbytes <= _CACHE_BYTES:
        self._cache[key] = pixels
    return {'image': pixels, 'label': np.int32(label)}

  def _draw(self, label: int, image: int) -> np.ndarray:
    person = self.first_person + label
    looks, outlines = _person_and_outlines(self.seed, person)
    capture = face_parameters.sample_capture(self.seed, person, image)
    height, width = self.image_size
    side = max(height, width)
    pixels = face_drawing.draw_face(looks, outlines, capture, side)
    top, left = (side - height) // 2, (side - width) // 2
    part = pixels[top : top + height, left : left + width]
    return np.ascontiguousarray(part)

  def name(self, index: int) -> str:
    """Name of an image, for messages."""
    label, image = self._locate(index)
    return f'{self.class_names[label]}/{image:04d}'


def draw_faces(source: SyntheticFaces) -> np.ndarray:
  """All images as one picture: rows are people, columns their images.

  Returns:
    [num_people * H, images_per_person * W, 3] uint8.
  """
  images = np.stack([source[i]['image'] for i in range(len(source))])
  height, width = source.image_size
  grid = images.reshape(
    source.num_people, source.images_per_person, height, width, 3
  )
  return grid.swapaxes(1, 2).reshape(
    source.num_people * height, source.images_per_person * width, 3
  )


def define_flags():
  flags.DEFINE_integer('people', 7, 'Rows.', lower_bound=1)
  flags.DEFINE_integer('images', 8, 'Columns.', lower_bound=1)
  command.define_size('size', 'Height and width of an image.', 112)
  flags.DEFINE_integer('seed', 0, 'Another one draws other people.')


def main(output: str):
  args = flags.FLAGS
  source = SyntheticFaces(args.people, args.images, args.size, args.seed)
  Image.fromarray(draw_faces(source)).save(output, optimize=True)


if __name__ == '__main__':
  define_flags()
  command.run(main, ('OUTPUT',))
