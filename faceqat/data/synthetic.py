"""Synthetic faces: drawn people, for trying everything out without any data.

A person is a set of proportions and colours, an image of them a pose, a light,
an expression and surroundings; both are drawn from the seed alone. The faces
are no substitute for real ones: they are there so that training, quantization,
export and every test run anywhere, and are hard enough that a network has to
learn something that raw pixels do not say.

  python -m faceqat.data.synthetic faces.png

writes a contact sheet: one row a person, one column an image of them.
"""

import argparse
import functools
import math

import numpy as np
from PIL import Image

from faceqat.data import face_drawing
from faceqat.data.face_drawing import Capture, Person

_SKINS = np.array(
  (
    (0.98, 0.84, 0.75),
    (0.90, 0.70, 0.55),
    (0.70, 0.48, 0.34),
    (0.43, 0.28, 0.2),
  )
)
_HAIRS = np.array(
  (
    (0.07, 0.06, 0.06),
    (0.20, 0.12, 0.08),
    (0.36, 0.22, 0.13),
    (0.55, 0.28, 0.12),
    (0.80, 0.64, 0.38),
    (0.52, 0.51, 0.50),
  )
)
_IRISES = np.array(
  (
    (0.16, 0.09, 0.05),
    (0.36, 0.20, 0.09),
    (0.33, 0.36, 0.18),
    (0.24, 0.42, 0.62),
    (0.42, 0.47, 0.50),
  )
)
_FRAMES = np.array(
  (
    (0.08, 0.08, 0.09),
    (0.35, 0.16, 0.08),
    (0.55, 0.50, 0.42),
    (0.12, 0.17, 0.40),
    (0.50, 0.10, 0.12),
  )
)
_MASKS = np.array(
  ((0.62, 0.80, 0.88), (0.92, 0.92, 0.92), (0.12, 0.12, 0.14)), np.float32
)


def draw_person(seed: int, person: int) -> Person:
  """Draws the looks of person number `person` of a seed."""
  rng = np.random.default_rng([seed, 0, person])
  uniform, chance = rng.uniform, rng.random
  width, chin = uniform(0.50, 0.66), uniform(0.80, 1.02)
  volume, length = uniform(0.05, 0.16), uniform(0.0, 0.35)
  style = chance()
  if style < 0.07:
    volume = 0.0
  elif style > 0.55:
    length = uniform(0.6, 1.6)
  beard = goatee = moustache = 0.0
  if length < 0.5 and chance() < 0.4:
    beard = uniform(0.25, 0.9)
    goatee = uniform(0.12, 0.24) if chance() < 0.5 else 0.0
    moustache = 0.85 if chance() < 0.5 else 0.0
  glasses = None
  if chance() < 0.22:
    glasses = uniform(0.15, 0.205), uniform(0, 1), uniform(0.01, 0.028)
  skin = _draw_skin_color(rng)
  hair_color = _draw_color(rng, _HAIRS)
  return Person(
    head=(width, uniform(0.72, 0.88), chin),
    jaw=(uniform(1.7, 4.2), uniform(1.5, 2.6)),
    forehead=uniform(1.9, 3.2),
    ear=(uniform(0.11, 0.19), uniform(0.05, 0.11), uniform(0.03, 0.15)),
    eye=(
      uniform(0.21, 0.32),
      uniform(0.105, 0.155),
      uniform(0.038, 0.078),
      uniform(-0.2, 0.3),
    ),
    lid=max(uniform(-0.02, 0.045), 0.0),
    iris_radius=uniform(0.046, 0.062),
    brow=(
      uniform(0.12, 0.21),
      uniform(0.012, 0.042),
      uniform(0.0, 0.07),
      uniform(-0.22, 0.22),
    ),
    nose=(uniform(0.27, 0.42), uniform(0.075, 0.15), uniform(0.55, 1.0)),
    mouth=(
      uniform(0.50, 0.62),
      uniform(0.15, 0.25),
      uniform(0.016, 0.05),
      uniform(0.026, 0.07),
      uniform(-0.035, 0.045),
    ),
    hair=(volume, length, uniform(-0.62, -0.36)),
    fringe=(uniform(-0.45, 0.45), uniform(-0.12, 0.22), uniform(0.78, 1.0)),
    curl=(max(uniform(-0.03, 0.035), 0.0), uniform(12, 24)),
    beard=beard,
    goatee=goatee,
    moustache=moustache,
    glasses=glasses,
    moles=tuple(
      (uniform(-0.36, 0.36), uniform(0.12, 0.7), uniform(0.014, 0.026))
      for _ in range(max(rng.integers(-2, 3), 0))
    ),
    skin=skin,
    hair_color=hair_color,
    brow_color=(0.75 * hair_color + 0.1 * skin).astype(np.float32),
    iris=_draw_color(rng, _IRISES),
    lips=_draw_lip_color(rng, skin),
    frame_color=_draw_color(rng, _FRAMES),
  )


def _draw_color(rng, choices):
  color = choices[rng.integers(len(choices))] * rng.uniform(0.8, 1.2)
  color = color + rng.uniform(-0.02, 0.02, 3)
  return np.clip(color, 0.02, 1).astype(np.float32)


def _draw_skin_color(rng):
  darker, tone = divmod(rng.uniform(0, len(_SKINS) - 1.001), 1)
  skin = (1 - tone) * _SKINS[int(darker)] + tone * _SKINS[int(darker) + 1]
  return (skin + rng.uniform(-0.025, 0.025, 3)).astype(np.float32)


def _draw_lip_color(rng, skin):
  lips = skin * (0.86, 0.60, 0.60) * rng.uniform(0.85, 1.1)
  lips = lips + rng.uniform(0.0, 0.09) * np.array((1, 0, 0.1))
  return np.clip(lips, 0.03, 1).astype(np.float32)


def draw_capture(seed: int, person: int, image: int) -> Capture:
  """Draws the circumstances of image number `image` of a person."""
  rng = np.random.default_rng([seed, 1, person, image])
  uniform, chance = rng.uniform, rng.random

  def angle(deviation, limit):
    return min(max(rng.normal(0, deviation), -limit), limit)

  strength, direction = uniform(0.0, 0.6), uniform(0, 2 * math.pi)
  gain = uniform(0.6, 1.2) * (1 + uniform(-0.13, 0.13, 3))
  event = chance()
  face_mask = hand = None
  if event < 0.04:
    face_mask = _MASKS[rng.integers(len(_MASKS))]
  elif event < 0.12:
    side = 1 if chance() < 0.5 else -1
    hand = (
      side * uniform(-0.35, 0.3),
      uniform(-0.2, 0.7),
      math.pi * (side > 0) + side * uniform(-0.2, 1.2),
      uniform(0.1, 0.15),
    )
  return Capture(
    angles=(angle(0.22, 0.5), angle(0.13, 0.3), angle(0.10, 0.3)),
    scale=uniform(0.86, 1.06),
    shift=(uniform(-0.1, 0.1), uniform(-0.16, 0.04)),
    light=(
      strength * math.cos(direction),
      0.6 * strength * math.sin(direction),
    ),
    gain=gain.astype(np.float32),
    contrast=uniform(0.6, 1.15),
    smile=max(uniform(-0.3, 1.0), 0.0),
    mouth_open=max(uniform(-0.12, 0.1), 0.0),
    brow_raise=uniform(-0.02, 0.05),
    eye_open=0.08 if chance() < 0.06 else uniform(0.65, 1.15),
    gaze=(uniform(-0.04, 0.04), uniform(-0.012, 0.012)),
    background=_draw_background(rng),
    clothes=uniform(0.05, 0.9, 3).astype(np.float32),
    glasses_on=chance() < 0.8,
    sunglasses=event > 0.96,
    face_mask=face_mask,
    hand=hand,
    blur=max(uniform(-0.25, 0.25), 0.0),
    noise=uniform(1, 8),
    grain=chance(),
  )


def _draw_background(rng):
  nodes = face_drawing.BACKGROUND_NODES
  field = rng.uniform(0.1, 0.85) + rng.uniform(-0.2, 0.2, (3, 1, 1))
  busy = rng.random()
  field = field + busy * rng.uniform(-0.3, 0.3, (1, nodes, nodes))
  field += busy * rng.uniform(-0.15, 0.15, (3, nodes, nodes))
  return np.clip(field, 0, 1).astype(np.float32)


@functools.lru_cache(maxsize=4096)
def _person_and_outlines(seed, person):
  looks = draw_person(seed, person)
  return looks, face_drawing.make_outlines(looks)


class SyntheticFaces:
  """A labelled source of drawn faces.

  `source[i]` depends on the seed, the person and the number of the image of
  that person only: not on the order of access, the process, the number of
  people or of images. Nothing is stored, so it is thread-safe and pickles.

  Attributes:
    labels: [N] int32, 0 .. num_people - 1.
    class_names: one name per label.
  """

  def __init__(
    self,
    num_people: int,
    images_per_person: int,
    image_size: int = 112,
    seed: int = 0,
    first_person: int = 0,
  ):
    """Makes people `first_person` .. `first_person + num_people - 1`.

    Args:
      num_people: number of people, at least 2.
      images_per_person: images of each, at least 1.
      image_size: height and width in pixels.
      seed: another seed gives other people.
      first_person: number of the first person; sources with the same seed and
        ranges that do not overlap have no person in common.

    Raises:
      ValueError: a number is out of its range.
    """
    for name, value, least in (
      ('num_people', num_people, 2),
      ('images_per_person', images_per_person, 1),
      ('image_size', image_size, 1),
      ('seed', seed, 0),
      ('first_person', first_person, 0),
    ):
      if value < least:
        raise ValueError(
          f'SyntheticFaces got {name}={value}; it must be at least {least}.'
        )
    self.num_people = num_people
    self.images_per_person = images_per_person
    self.image_size = image_size
    self.seed = seed
    self.first_person = first_person
    self.labels = np.repeat(
      np.arange(num_people, dtype=np.int32), images_per_person
    )
    self.class_names = [
      f'person_{first_person + k:06d}' for k in range(num_people)
    ]

  def __len__(self) -> int:
    return len(self.labels)

  def _locate(self, index):
    if not -len(self) <= index < len(self):
      raise IndexError(
        f'SyntheticFaces has {len(self)} images; there is no image {index}.'
      )
    return divmod(int(index) % len(self), self.images_per_person)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """{'image': [H, W, 3] uint8 RGB, 'label': int32}."""
    label, image = self._locate(index)
    person = self.first_person + label
    looks, outlines = _person_and_outlines(self.seed, person)
    capture = draw_capture(self.seed, person, image)
    return {
      'image': face_drawing.draw_face(
        looks, outlines, capture, self.image_size
      ),
      'label': np.int32(label),
    }

  def name(self, index: int) -> str:
    """Name of an image, for messages."""
    label, image = self._locate(index)
    return f'{self.class_names[label]}/{image:04d}'


def contact_sheet(source: SyntheticFaces) -> np.ndarray:
  """All images as one picture: rows are people, columns their images.

  Returns:
    [num_people * H, images_per_person * W, 3] uint8.
  """
  images = np.stack([source[i]['image'] for i in range(len(source))])
  size = source.image_size
  grid = images.reshape(
    source.num_people, source.images_per_person, size, size, 3
  )
  return grid.swapaxes(1, 2).reshape(
    source.num_people * size, source.images_per_person * size, 3
  )


def main() -> None:
  parser = argparse.ArgumentParser(description='Writes a contact sheet.')
  parser.add_argument('output', help='the picture to write, e.g. faces.png')
  parser.add_argument('--people', type=int, default=10)
  parser.add_argument('--images', type=int, default=9)
  parser.add_argument('--size', type=int, default=112)
  parser.add_argument('--seed', type=int, default=0)
  arguments = parser.parse_args()
  source = SyntheticFaces(
    arguments.people, arguments.images, arguments.size, arguments.seed
  )
  Image.fromarray(contact_sheet(source)).save(arguments.output, optimize=True)


if __name__ == '__main__':
  main()
