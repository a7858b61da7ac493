"""Whether a face in a photograph shows enough of a person to be recognised.

Pose is that of the five landmarks under weak perspective, as Gee and Cipolla
1994 ("Determining the gaze of faces in images") take it from the tip of the
nose, which stands out of the plane of eyes and mouth: it moves to the side
while the eyes come together. Angles are rough: those of +-15 degrees are the
landmarks' own noise.

Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom
autofocusing in brightfield microscopy") over that of the pixels, in the aligned
crop of 112x112 pixels: neither the size of the face in the photograph nor its
contrast plays a part, other than that a face enlarged to the crop is blurred.
"""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np

from faceqat.faces import alignment
from faceqat.faces.detection import Face

# How far the tip of the nose stands out of the plane of eyes and mouth, as a
# share of the distance of the eyes: 31 of 63 mm.
_NOSE_DEPTH = 0.5
# A face that looks into the camera: the template, but for YuNet's tip of the
# nose, which in the median of 1,095 faces of CelebA and PINS lies lower.
FRONTAL = alignment.ARCFACE_TEMPLATE + np.array(
  [[0, 0], [0, 0], [0, 3.5], [0, 0], [0, 0]]
)
# The part of the aligned crop that is face: rows and columns.
_FACE = slice(36, 104), slice(28, 84)
# Below and above, a pixel tells nothing.
_DARK, _BRIGHT = 16, 250


class Quality(NamedTuple):
  """What is measured of a face.

  Attributes:
    size: pixels of the photograph, the shorter side of the detector's box.
    yaw: degrees to the side, above 0 where the nose points to the right of the
      picture.
    pitch: degrees up or down, above 0 where it points down.
    roll: degrees by which the head is tilted; the alignment takes it away.
    sharpness: above 0; see above.
    exposed: share of the face's pixels that are neither black nor white.
  """

  size: float
  yaw: float
  pitch: float
  roll: float
  sharpness: float
  exposed: float


@dataclasses.dataclass(frozen=True)
class Bars:
  """Below which a face is not usable; docs/decisions.md says why these.

  Attributes:
    size: pixels.
    turn: degrees of yaw or pitch, whichever is more.
    sharpness: as measured.
    exposed: a share.
  """

  size: float = 24
  turn: float = 55
  sharpness: float = 0.012
  exposed: float = 0.4


def measure(image: np.ndarray, face: Face) -> Quality:
  """Measures a face.

  Args:
    image: photograph, uint8 [H, W, 3] RGB.
    face: found in it.

  Raises:
    ValueError: the landmarks are in one place.
  """
  yaw, pitch, roll = pose(face.landmarks)
  crop = alignment.align_points(image, face.landmarks)
  grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[_FACE]
  laplacian = cv2.Laplacian(grey.astype(np.float64), cv2.CV_64F)
  exposed = np.mean((grey >= _DARK) & (grey <= _BRIGHT))
  return Quality(
    size=float(min(face.box[2:])),
    yaw=yaw,
    pitch=pitch,
    roll=roll,
    sharpness=float(np.var(laplacian) / max(np.var(grey), 1.0)),
    exposed=float(exposed),
  )


def pose(landmarks: np.ndarray) -> tuple[float, float, float]:
  """Yaw, pitch and roll in degrees of five landmarks [5, 2].

  >>> [abs(round(angle)) for angle in pose(FRONTAL)]
  [0, 0, 0]

  Raises:
    ValueError: the landmarks are in one place.
  """
  points = np.asarray(landmarks, float)
  turn = alignment.estimate_similarity(points, alignment.ARCFACE_TEMPLATE)
  points = points @ turn[:, :2].T
  roll = np.degrees(np.arctan2(turn[0, 1], turn[0, 0]))
  across, down, side, sunk = _proportions(points)
  upright = _proportions(FRONTAL)
  # Lengths in the plane shrink by the cosine, the nose moves by the sine.
  depth = _NOSE_DEPTH * upright[0]
  yaw = np.arctan2(
    (side - upright[2] * across / upright[0]) / depth, across / upright[0]
  )
  pitch = np.arctan2(
    (sunk - upright[3] * down / upright[1]) / depth, down / upright[1]
  )
  return float(np.degrees(yaw)), float(np.degrees(pitch)), float(roll)


def why_not(quality: Quality, bars: Bars) -> str:
  """Why a face is not usable, in words; '' where it is.

  >>> why_not(Quality(80, -62.0, 3, 0, 0.1, 1), Bars())
  'turned by 62 degrees'
  """
  turn = max(abs(quality.yaw), abs(quality.pitch))
  for is_wrong, reason in (
    (quality.size < bars.size, f'{quality.size:.0f} pixels small'),
    (turn > bars.turn, f'turned by {turn:.0f} degrees'),
    (
      quality.exposed < bars.exposed,
      f'{1 - quality.exposed:.0%} of it is black or white',
    ),
    (
      quality.sharpness < bars.sharpness,
      f'blurred (sharpness {quality.sharpness:.3f})',
    ),
  ):
    if is_wrong:
      return reason
  return ''


def _proportions(points: np.ndarray) -> tuple[float, float, float, float]:
  """Of an upright face, in pixels.

  Returns:
    The mean distance of what is left from what is right, that of the eyes from
    the mouth, and how far the nose is to the right of their middle and below
    it.
  """
  left, right = points[[0, 3]][:, 0].mean(), points[[1, 4]][:, 0].mean()
  eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
  middle = (eyes + mouth) / 2
  side, sunk = points[2] - middle
  return abs(right - left), abs(mouth[1] - eyes[1]), side, sunk
