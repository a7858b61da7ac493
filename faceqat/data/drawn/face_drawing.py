"""Draws one face: a person's looks under one capture's pose and light.

Coordinates and units are those of `face_canvas`. From back to front: hair
behind the head, neck, clothes, ears, face, beard, nose, eyes, brows, mouth,
moles, hair in front, glasses, what is in the way; then light, blur and grain.
"""

import math
from typing import NamedTuple

import numpy as np

from faceqat.data.drawn import face_canvas
from faceqat.data.drawn.face_canvas import Canvas, unit
from faceqat.data.drawn.face_parameters import Capture, Person

_PROFILE_STEPS = 1024
_PROFILE_SPAN = 2.0  # outlines are tabulated for y in [-span, span)
_PALE = np.array([0.95, 0.93, 0.90], np.float32)
_DARK = np.array([0.07, 0.05, 0.05], np.float32)


class Outlines(NamedTuple):
  """Half widths by height and what makes them distances: [1024] float32."""

  face: tuple[np.ndarray, np.ndarray]
  hair: tuple[np.ndarray, np.ndarray]


def make_outlines(person: Person) -> Outlines:
  """Tabulates the silhouettes of the face and of the hair."""
  width, top, chin = person.head
  volume, length, _ = person.hair
  return Outlines(
    _profile(width, top, chin, person.forehead, person.jaw),
    _profile(
      width + volume, top + 1.1 * volume, max(length, 0.15), 2.4, (5.0, 3.0)
    ),
  )


def _profile(width, top, chin, forehead, jaw):
  y = (np.arange(_PROFILE_STEPS) + 0.5) / _PROFILE_STEPS
  y = (2 * y - 1) * _PROFILE_SPAN
  up, down = np.clip(-y / top, 0, 1), np.clip(y / chin, 0, 1)
  below = (1 - down ** jaw[0]) ** (1 / jaw[1])
  half = width * np.where(y < 0, (1 - up**forehead) ** 0.5, below)
  slope = np.clip(np.gradient(half, y), -8, 8)
  outside = np.maximum(y - chin, 0) + np.maximum(-top - y, 0)
  half -= 8 * outside
  slope[outside > 0] = 8
  return half.astype(np.float32), (1 / np.hypot(1, slope)).astype(np.float32)


def draw_face(
  person: Person, outlines: Outlines, capture: Capture, image_size: int
) -> np.ndarray:
  """Draws a person as one capture sees them.

  Args:
    person: the looks.
    outlines: `make_outlines(person)`; apart, so that it can be kept.
    capture: pose, light, expression, surroundings.
    image_size: height and width in pixels.

  Returns:
    [image_size, image_size, 3] uint8, RGB.
  """
  canvas = Canvas(image_size, capture.angles, capture.scale, capture.shift)
  basis = face_canvas.smooth_basis(image_size, capture.background.shape[-1])
  np.matmul(basis @ capture.background, basis.T, out=canvas.planes)
  head = canvas.head()
  hair, inside = _silhouettes(head, person, outlines)
  if person.hair[0] > 0:
    head.blend(head.mask(hair), 0.72 * person.hair_color)
  _draw_body(canvas, person, capture)
  _draw_skin(head, inside, person)
  _draw_nose(canvas, person, capture)
  for side in (-1, 1):
    _draw_eye(canvas, person, capture, side)
    _draw_brow(canvas, person, capture, side)
  _draw_mouth(canvas, person, capture)
  _draw_moles(canvas, person)
  if person.hair[0] > 0:
    _draw_hair_front(head, hair, person, capture)
  if capture.sunglasses or (person.glasses and capture.glasses_on):
    _draw_glasses(canvas, person, capture)
  if capture.face_mask is not None:
    _draw_face_mask(canvas, person, capture.face_mask)
  if capture.hand:
    _draw_hand(canvas, person, capture.hand)
  return _develop(canvas, head, person, capture)


def _silhouettes(head, person, outlines):
  """Signed distances to the hair's and the face's outline."""
  index = head.v * (_PROFILE_STEPS / (2 * _PROFILE_SPAN))
  index += _PROFILE_STEPS / 2
  index = index.astype(np.intp)
  across = np.abs(head.u)
  distances = []
  for half, factor in (outlines.hair, outlines.face):
    distance = half.take(index, mode='clip')
    distance -= across
    distance *= factor.take(index, mode='clip')
    distances.append(distance)
  amplitude, frequency = person.curl
  if amplitude > 0:
    distances[0] += amplitude * np.sin(frequency * (head.v + 0.6 * across))
  return distances


def _draw_body(canvas, person, capture):
  width, _, chin = person.head
  neck = canvas.part(0, chin + 0.1, 0.0, 0.75 * width, 0.6)
  if neck is not None:
    mask = neck.mask(0.62 * width + 0.15 * neck.v * neck.v - np.abs(neck.u))
    neck.blend(mask, 0.72 * person.skin)
  body = canvas.part(0, chin + 0.75, 0.0, 2.5, 0.55)
  if body is not None:
    shoulder = body.mask(body.v + 0.47 - 0.22 * body.u * body.u)
    body.blend(shoulder, capture.clothes)
  tall, wide, y = person.ear
  for side in (-1, 1):
    ear = canvas.part(side * (width + 0.01), y, 0.0, 2 * wide, 1.2 * tall)
    if ear is not None and person.hair[1] < 0.5:
      radius = np.sqrt((ear.u / wide) ** 2 + (ear.v / tall) ** 2)
      ear.blend(ear.mask((1 - radius) * wide), 0.93 * person.skin)
      ear.shade(0.25 * ear.mask((0.55 - radius) * wide))


def _draw_skin(head, inside, person):
  face = head.mask(inside)
  head.blend(face, person.skin)
  if person.beard == 0:
    return
  _, _, chin = person.head
  if person.goatee > 0:
    low = person.mouth[0] + 0.06
    middle, tall = 0.5 * (low + chin + 0.1), 0.5 * (chin + 0.1 - low)
    ramp = (head.u * (1 / person.goatee)) ** 2
    ramp += (head.v * (1 / tall) - middle / tall) ** 2
    ramp *= -2.2
    ramp += 2.2
  else:
    ramp = np.abs(head.u)
    ramp *= 2.0
    ramp += head.v
    ramp -= person.mouth[0] - 0.1
    ramp *= 7
    np.minimum(ramp, (head.v - 0.12) * 5, out=ramp)
  unit(ramp)
  ramp *= person.beard
  ramp *= face
  head.blend(ramp, person.hair_color)


def _draw_nose(canvas, person, capture):
  length, half_width, strength = person.nose
  half = 0.5 * length
  nose = canvas.part(0, half, 0.70, 2.6 * half_width, half + 0.14)
  if nose is None:
    return
  along = unit(nose.v / length + 0.5)
  across = nose.u / (half_width * (0.42 + 0.58 * along * along))
  ridge = np.exp(-(across * across))
  fade = unit((0.58 - nose.v / length) * 8) * along
  light = capture.light[0] + 0.8 * canvas.yaw[0]
  nose.shade(ridge * (-0.9 * light * across - 0.07) * (fade * strength))
  tip = nose.v - half
  wing = np.abs(nose.u)
  nostril = (wing - 0.52 * half_width) * (1 / (0.30 * half_width))
  nostril = 1 - nostril * nostril - (tip * (1 / 0.028)) ** 2
  nose.shade(0.5 * nose.mask(nostril * 0.014))
  under = nose.line(tip - 0.03 + 0.035 * (nose.u / half_width) ** 2, 0.038)
  nose.shade(0.42 * strength * under * nose.mask(half_width - wing))


def _draw_eye(canvas, person, capture, side):
  x, half_width, opening, tilt = person.eye
  eye = canvas.part(
    side * x, 0, 0.52, 1.7 * half_width, 2.0 * half_width, mirror=side < 0
  )
  if eye is None:
    return
  u = eye.u / half_width
  v = eye.v + tilt * eye.u
  bow = 1 - u * u
  socket = 1 - 0.36 * u * u - (v / (1.5 * half_width)) ** 2
  eye.shade(0.2 * unit(socket))
  opening *= capture.eye_open
  upper, lower = v + opening * bow, 0.65 * opening * bow - v
  inner = eye.mask(np.minimum(upper, lower))
  eye.blend(inner, _PALE)
  du = eye.u - side * capture.gaze[0]
  dv = v - capture.gaze[1] + 0.1 * opening
  radius, ball = np.sqrt(du * du + dv * dv), person.iris_radius
  eye.blend(inner * eye.mask(ball - radius), person.iris)
  eye.blend(inner * eye.mask(0.45 * ball - radius), _DARK)
  glint = 0.3 * ball - np.abs(du - side * 0.3 * ball) - np.abs(dv + 0.3 * ball)
  eye.blend(inner * eye.mask(glint), _PALE)
  ends = unit(bow * 5)
  eye.blend(0.9 * ends * eye.line(upper, 0.024), 0.3 * person.skin)
  if person.lid > 0:
    crease = v + (opening + person.lid) * bow + 0.2 * person.lid
    eye.shade(0.35 * ends * eye.line(crease, 0.022))


def _draw_brow(canvas, person, capture, side):
  x, eye_width, _, _ = person.eye
  height, thickness, arch, slope = person.brow
  reach, y = 1.45 * eye_width, -height - capture.brow_raise
  half_height = arch + thickness + 0.06
  brow = canvas.part(
    side * (x + 0.02), y, 0.52, 1.1 * reach, half_height, mirror=side < 0
  )
  if brow is None:
    return
  u = brow.u / reach
  centre = brow.v + arch * (0.5 - u * u) + slope * brow.u
  taper = (thickness - 0.45 * thickness * u) * unit(3.2 - 3 * np.abs(u))
  brow.blend(0.88 * brow.mask(taper - np.abs(centre)), person.brow_color)


def _draw_mouth(canvas, person, capture):
  y, half_width, upper_lip, lower_lip, curve = person.mouth
  half_width *= 1 + 0.22 * capture.smile
  gap = capture.mouth_open
  half_height = 0.12 + gap + upper_lip + lower_lip
  mouth = canvas.part(0, y, 0.60, 1.25 * half_width, half_height)
  if mouth is None:
    return
  u = mouth.u / half_width
  bow = 1 - u * u
  line = mouth.v - (curve + 0.09 * capture.smile) * (0.5 - u * u)
  peak = (upper_lip * bow) * (0.75 + 0.9 * np.abs(u))
  fall = (lower_lip + gap) * bow
  if person.moustache > 0:
    above = -line - peak
    hairs = np.minimum(above + 0.01, 0.085 - above - 0.05 * u * u)
    hairs = np.minimum(hairs, 1.05 * half_width - np.abs(mouth.u))
    mouth.blend(person.moustache * mouth.mask(hairs), person.hair_color)
  mouth.blend(mouth.mask(np.minimum(line + peak, fall - line)), person.lips)
  if gap > 0.01:
    opened = mouth.mask(np.minimum(line, gap * bow - line))
    mouth.blend(opened, 2.5 * _DARK)
    mouth.blend(opened * mouth.mask(0.4 * gap + 0.012 - line), 0.95 * _PALE)
  else:
    seam = 0.7 * mouth.line(line, 0.024) * unit(bow * 6)
    mouth.blend(seam, 0.35 * person.lips)
  mouth.shade(0.16 * mouth.line(line - fall - 0.035, 0.045) * unit(2 * bow - 1))


def _draw_moles(canvas, person):
  for x, y, radius in person.moles:
    mole = canvas.part(x, y, 0.55, 2 * radius, 2 * radius)
    if mole is not None:
      distance = radius - np.sqrt(mole.u * mole.u + mole.v * mole.v)
      mole.blend(0.8 * mole.mask(distance), 0.35 * person.skin)


def _draw_hair_front(head, hair, person, capture):
  slant, rounding, temples = person.fringe
  # The hairline sits on the front of the head and turns with it.
  u = head.u - 0.12 * math.sin(capture.angles[0])
  edge = u * (rounding / person.head[0] ** 2)
  edge += slant
  edge *= u
  edge -= head.v
  edge += person.hair[2]
  sides = np.abs(u, out=u)
  sides -= temples * person.head[0]
  # Sideburns give way to the ears; long hair falls past the cheeks.
  wide = (head.v - 0.25) * 0.35 if person.hair[1] > 0.5 else head.v * 0.5 + 0.12
  sides -= unit(wide)
  np.maximum(edge, sides, out=edge)
  np.minimum(edge, hair, out=edge)
  shine = head.line(head.v + 0.62 - 0.4 * head.u * head.u, 0.22)
  shine *= 0.16
  shine += 0.92
  head.blend(head.mask(edge), person.hair_color[:, None, None] * shine)


def _draw_glasses(canvas, person, capture):
  x = person.eye[0]
  radius, square, thickness = person.glasses or (0.20, 0.5, 0.02)
  for side in (-1, 1):
    lens = canvas.part(
      side * x, 0.02, 0.56, 1.3 * radius, 1.2 * radius, mirror=side < 0
    )
    if lens is None:
      continue
    dx, dy = np.abs(lens.u), 1.12 * np.abs(lens.v)
    ring = (1 - square) * np.sqrt(dx * dx + dy * dy)
    ring += square * np.maximum(dx, 1.12 * dy)
    if capture.sunglasses:
      lens.blend(0.93 * lens.mask(radius - ring), _DARK)
    rim = lens.mask(thickness - np.abs(ring - radius))
    lens.blend(rim, person.frame_color)
  gap = x - radius
  bridge = canvas.part(0, -0.03, 0.6, max(gap, 0.02) + 0.02, 0.06)
  if bridge is not None:
    bar = np.minimum(0.8 * thickness - np.abs(bridge.v), gap - np.abs(bridge.u))
    bridge.blend(bridge.mask(bar), person.frame_color)


def _draw_face_mask(canvas, person, color):
  width, _, chin = person.head
  top, bottom = 0.7 * person.nose[0], chin + 0.02
  middle, half = 0.5 * (top + bottom), 0.5 * (bottom - top)
  cloth = canvas.part(0, middle, 0.5, 1.1 * width, half + 0.05)
  if cloth is None:
    return
  # A rounded box that gets narrower towards the chin.
  u = np.abs(cloth.u) + 0.25 * cloth.v - (0.72 * width - 0.15)
  v = np.abs(cloth.v) - (half - 0.15)
  u, v = np.maximum(u, 0), np.maximum(v, 0)
  cloth.blend(cloth.mask(0.15 - np.sqrt(u * u + v * v)), color)
  cloth.shade(0.12 * cloth.line(cloth.v, 0.03) * cloth.mask(-u))


def _draw_hand(canvas, person, hand):
  x, y, angle, width = hand
  fingers = canvas.part(x, y, 0.7, 1.3, 1.3)
  if fingers is None:
    return
  sin, cos = math.sin(angle), math.cos(angle)
  along = cos * fingers.u + sin * fingers.v
  across = cos * fingers.v - sin * fingers.u
  number = np.rint(across / width)
  number.clip(-1, 1, out=number)
  across -= number * width
  # The middle finger reaches further.
  along += 0.5 * width * np.abs(number)
  np.maximum(along, 0, out=along)
  distance = 0.47 * width - np.sqrt(along * along + across * across)
  fingers.blend(fingers.mask(distance), 0.6 * person.skin)
  fingers.blend(fingers.mask(distance - 0.012), 0.95 * person.skin)


def _develop(canvas, head, person, capture):
  """Light, colour cast, blur and grain, then bytes."""
  planes = canvas.planes
  nx = head.u * (1 / person.head[0])
  nx.clip(-1, 1, out=nx)
  light = head.v * (1 / person.head[2])
  light.clip(-1, 1, out=light)
  light *= capture.light[1]
  light += 1.05
  light += capture.light[0] * nx
  # A head turns away from the light at its edges.
  nx *= nx
  nx *= 0.16
  light -= nx
  light.clip(0.25, 2.0, out=light)
  gain = 255 * capture.contrast * capture.gain
  planes *= light
  planes *= gain[:, None, None]
  planes += 127.5 * (1 - capture.contrast)
  if capture.blur > 0 and canvas.size > 2:
    _blur(planes, np.s_[:, 1:-1], np.s_[:, :-2], np.s_[:, 2:], capture.blur)
    _blur(
      planes, np.s_[:, :, 1:-1], np.s_[:, :, :-2], np.s_[:, :, 2:], capture.blur
    )
  start = int(capture.grain * planes.size)
  bank = face_canvas.grain_bank(canvas.size)
  grain = capture.noise * bank[start : start + planes.size]
  planes += grain.reshape(planes.shape)
  planes.clip(0, 255, out=planes)
  image = np.empty((canvas.size, canvas.size, 3), np.uint8)
  for channel, plane in enumerate(planes):
    image[..., channel] = plane
  return image


def _blur(planes, inner, before, after, weight):
  change = planes[before] + planes[after]
  change *= weight
  change -= (2 * weight) * planes[inner]
  planes[inner] += change
