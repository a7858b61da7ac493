"""The parameters of a drawn face, sampled from a seed.

A `Person` is what identity consists of, a `Capture` what a recogniser has to
see through. Lengths and coordinates are those of `face_canvas`.
"""

import math
from typing import NamedTuple

import numpy as np

_BACKGROUND_NODES = 5  # the background is a smooth field of 5 x 5 colours
_SKINS = np.array(
  [
    (0.98, 0.84, 0.75),
    (0.90, 0.70, 0.55),
    (0.70, 0.48, 0.34),
    (0.43, 0.28, 0.20),
  ]
)
_HAIRS = np.array(
  [
    (0.07, 0.06, 0.06),
    (0.20, 0.12, 0.08),
    (0.36, 0.22, 0.13),
    (0.55, 0.28, 0.12),
    (0.80, 0.64, 0.38),
    (0.52, 0.51, 0.50),
  ]
)
_IRISES = np.array(
  [
    (0.16, 0.09, 0.05),
    (0.36, 0.20, 0.09),
    (0.33, 0.36, 0.18),
    (0.24, 0.42, 0.62),
    (0.42, 0.47, 0.50),
  ]
)
_FRAMES = np.array(
  [
    (0.08, 0.08, 0.09),
    (0.35, 0.16, 0.08),
    (0.55, 0.50, 0.42),
    (0.12, 0.17, 0.40),
    (0.50, 0.10, 0.12),
  ]
)
_MASKS = np.array(
  [(0.62, 0.80, 0.88), (0.92, 0.92, 0.92), (0.12, 0.12, 0.14)], np.float32
)


class Person(NamedTuple):
  """What stays the same in all images of a person. Lengths in head units."""

  head: tuple[float, float, float]  # half width, top, chin
  jaw: tuple[float, float]  # exponents of the outline below the eyes
  forehead: float  # exponent of the outline above the eyes
  ear: tuple[float, float, float]  # half height, half width, y
  eye: tuple[float, float, float, float]  # x, half width, opening, tilt
  lid: float  # distance of the crease above the eye, 0 for none
  iris_radius: float
  brow: tuple[float, float, float, float]  # height, thickness, arch, slope
  nose: tuple[float, float, float]  # length, half width at the tip, strength
  mouth: tuple[float, float, float, float, float]  # y, half width, lips, curve
  hair: tuple[float, float, float]  # volume, length, hairline at the centre
  fringe: tuple[float, float, float]  # slant, rounding, temples
  curl: tuple[float, float]  # amplitude and frequency of the hair's outline
  beard: float  # strength
  goatee: float  # half width of a beard on the chin only, 0 for a full one
  moustache: float
  glasses: tuple[float, float, float] | None  # radius, squareness, thickness
  moles: tuple[tuple[float, float, float], ...]  # x, y, radius
  skin: np.ndarray  # [3] float32 in 0..1, and so are the colours below
  hair_color: np.ndarray
  brow_color: np.ndarray
  iris: np.ndarray
  lips: np.ndarray
  frame_color: np.ndarray


class Capture(NamedTuple):
  """What differs between two images of the same person."""

  angles: tuple[float, float, float]  # yaw, pitch, roll in radians
  scale: float
  shift: tuple[float, float]  # frame units
  light: tuple[float, float]  # change of brightness over the head, x and y
  gain: np.ndarray  # [3] float32: brightness and colour cast
  contrast: float
  smile: float
  mouth_open: float
  brow_raise: float
  eye_open: float  # 1 is the person's own opening
  gaze: tuple[float, float]
  background: np.ndarray  # [3, 5, 5] float32
  clothes: np.ndarray  # [3] float32
  glasses_on: bool
  sunglasses: bool
  face_mask: np.ndarray | None  # its colour
  hand: tuple[float, float, float, float] | None  # x, y, angle, finger width
  blur: float  # 0 .. 0.25, weight of each neighbour
  noise: float  # standard deviation in grey levels
  grain: float  # 0 .. 1, place in the bank of noise


def sample_person(seed: int, person: int) -> Person:
  """Samples the looks of a person: the same for the same arguments.

  Args:
    seed: at least 0.
    person: number of the person among those of the seed, at least 0.
  """
  rng = np.random.default_rng([seed, 0, person])
  uniform, chance = rng.uniform, rng.random

  def uniforms(*limits: tuple[float, float]) -> tuple[float, ...]:
    return tuple(uniform(low, high) for low, high in limits)

  width, chin, volume, length = uniforms(
    (0.50, 0.66), (0.80, 1.02), (0.05, 0.16), (0.0, 0.35)
  )
  style = chance()
  if style < 0.07:
    volume = 0.0
  elif style > 0.55:
    length = uniform(0.6, 1.6)
  beard, goatee, moustache = _sample_beard(rng, length)
  glasses = None
  if chance() < 0.22:
    glasses = uniforms((0.15, 0.205), (0, 1), (0.01, 0.028))
  skin = _sample_skin_color(rng)
  hair_color = _sample_color(rng, _HAIRS)
  return Person(
    head=(width, uniform(0.72, 0.88), chin),
    jaw=uniforms((1.7, 4.2), (1.5, 2.6)),
    forehead=uniform(1.9, 3.2),
    ear=uniforms((0.11, 0.19), (0.05, 0.11), (0.03, 0.15)),
    eye=uniforms((0.22, 0.33), (0.115, 0.175), (0.042, 0.088), (-0.2, 0.3)),
    lid=max(uniform(-0.02, 0.045), 0.0),
    iris_radius=uniform(0.050, 0.070),
    brow=uniforms((0.12, 0.21), (0.012, 0.042), (0.0, 0.07), (-0.22, 0.22)),
    nose=uniforms((0.27, 0.42), (0.075, 0.15), (0.55, 1.0)),
    mouth=uniforms(
      *((0.50, 0.62), (0.15, 0.25), (0.016, 0.05)),
      *((0.026, 0.07), (-0.035, 0.045)),
    ),
    hair=(volume, length, uniform(-0.62, -0.36)),
    fringe=uniforms((-0.45, 0.45), (-0.12, 0.22), (0.78, 1.0)),
    curl=(max(uniform(-0.03, 0.035), 0.0), uniform(12, 24)),
    beard=beard,
    goatee=goatee,
    moustache=moustache,
    glasses=glasses,
    moles=tuple(
      uniforms((-0.36, 0.36), (0.12, 0.7), (0.014, 0.026))
      for _ in range(max(rng.integers(-2, 3), 0))
    ),
    skin=skin,
    hair_color=hair_color,
    brow_color=(0.75 * hair_color + 0.1 * skin).astype(np.float32),
    iris=_sample_color(rng, _IRISES),
    lips=_sample_lip_color(rng, skin),
    frame_color=_sample_color(rng, _FRAMES),
  )


def _sample_beard(rng, hair_length):
  if hair_length >= 0.5 or rng.random() >= 0.4:
    return 0.0, 0.0, 0.0
  beard = rng.uniform(0.25, 0.9)
  goatee = rng.uniform(0.12, 0.24) if rng.random() < 0.5 else 0.0
  return beard, goatee, 0.85 if rng.random() < 0.5 else 0.0


def _sample_color(rng, choices):
  color = choices[rng.integers(len(choices))] * rng.uniform(0.8, 1.2)
  color = color + rng.uniform(-0.02, 0.02, 3)
  return np.clip(color, 0.02, 1).astype(np.float32)


def _sample_skin_color(rng):
  darker, tone = divmod(rng.uniform(0, len(_SKINS) - 1.001), 1)
  skin = (1 - tone) * _SKINS[int(darker)] + tone * _SKINS[int(darker) + 1]
  return (skin + rng.uniform(-0.025, 0.025, 3)).astype(np.float32)


def _sample_lip_color(rng, skin):
  lips = skin * (0.86, 0.60, 0.60) * rng.uniform(0.85, 1.1)
  lips = lips + rng.uniform(0.0, 0.09) * np.array((1, 0, 0.1))
  return np.clip(lips, 0.03, 1).astype(np.float32)


def sample_capture(seed: int, person: int, image: int) -> Capture:
  """Samples the circumstances of an image: the same for the same arguments.

  Args:
    seed: at least 0.
    person: number of the person among those of the seed, at least 0.
    image: number of the image among those of the person, at least 0.
  """
  rng = np.random.default_rng([seed, 1, person, image])
  uniform, chance = rng.uniform, rng.random

  def angle(deviation, limit):
    return min(max(rng.normal(0, deviation), -limit), limit)

  strength, direction = uniform(0.0, 0.6), uniform(0, 2 * math.pi)
  gain = uniform(0.75, 1.2) * (1 + uniform(-0.06, 0.06, 3))
  event = chance()
  face_mask = hand = None
  if event < 0.02:
    face_mask = _MASKS[rng.integers(len(_MASKS))]
  elif event < 0.06:
    side = 1 if chance() < 0.5 else -1
    hand = (
      side * uniform(-0.35, 0.3),
      uniform(-0.2, 0.7),
      math.pi * (side > 0) + side * uniform(-0.2, 1.2),
      uniform(0.1, 0.15),
    )
  return Capture(
    angles=(angle(0.22, 0.5), angle(0.13, 0.3), angle(0.04, 0.12)),
    scale=uniform(0.90, 1.02),
    shift=(uniform(-0.05, 0.05), uniform(-0.11, -0.01)),
    light=(
      strength * math.cos(direction),
      0.6 * strength * math.sin(direction),
    ),
    gain=gain.astype(np.float32),
    contrast=uniform(0.8, 1.15),
    smile=max(uniform(-0.3, 1.0), 0.0),
    mouth_open=max(uniform(-0.12, 0.1), 0.0),
    brow_raise=uniform(-0.02, 0.05),
    eye_open=0.08 if chance() < 0.06 else uniform(0.65, 1.15),
    gaze=(uniform(-0.04, 0.04), uniform(-0.012, 0.012)),
    background=_sample_background(rng),
    clothes=uniform(0.05, 0.9, 3).astype(np.float32),
    glasses_on=chance() < 0.95,
    sunglasses=event > 0.98,
    face_mask=face_mask,
    hand=hand,
    blur=max(uniform(-0.25, 0.25), 0.0),
    noise=uniform(1, 7),
    grain=chance(),
  )


def _sample_background(rng):
  field = rng.uniform(0.1, 0.85) + rng.uniform(-0.2, 0.2, (3, 1, 1))
  busy = rng.random()
  field = field + busy * rng.uniform(
    -0.3, 0.3, (1, _BACKGROUND_NODES, _BACKGROUND_NODES)
  )
  field += busy * rng.uniform(
    -0.15, 0.15, (3, _BACKGROUND_NODES, _BACKGROUND_NODES)
  )
  return np.clip(field, 0, 1).astype(np.float32)
