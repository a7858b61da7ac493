"""Cuts a face out of a photograph, as networks are trained on it.

Networks with margin losses see five points of the face moved onto a template
(`align_points`), those after FaceNet the detector's box with a margin
(`crop_with_margin`). A network trained on the one fails on the other.

Images are [H, W, 3] uint8, crops have the channels' order of their image.
Points are [N, 2], x and y in pixels; landmarks those five of a face.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from faceqat.files.image_size import (
  ImageSize,
  height_width,
  same_proportions,
  shown_size,
)

# Landmarks in InsightFace's crops of 112x112 (`arcface_dst`): eyes, nose and
# corners of the mouth, from the left to the right of the picture.
ARCFACE_TEMPLATE = np.array(
  [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
  ]
)


class Template(NamedTuple):
  """The landmarks in a crop, and its height and width."""

  points: np.ndarray
  size: tuple[int, int]


# By their names in fingerprints. SphereFace's and CosFace's (`coord5points`,
# `imgSize`) is InsightFace's without 8 pixels on the left and on the right.
TEMPLATES = {
  'arcface': Template(ARCFACE_TEMPLATE, (112, 112)),
  'sphereface': Template(ARCFACE_TEMPLATE - [8, 0], (112, 96)),
}
# The margin in pixels of the crop, and the name of such crops in fingerprints.
MARGIN = 32
WITH_MARGIN = f'margin_{MARGIN}'


def template_points(name: str, size: ImageSize) -> np.ndarray:
  """The landmarks of one of the `TEMPLATES` in a crop of any size.

  Raises:
    ValueError: the size has other proportions than the template.
  """
  points, of_template = TEMPLATES[name]
  if not same_proportions(size, of_template):
    others = [
      f'{other} is for {shown_size(template.size)}'
      for other, template in TEMPLATES.items()
    ]
    raise ValueError(
      f'a crop of {shown_size(size)} pixels (height x width) has other '
      f'proportions than the template {name!r}: {" and ".join(others)}, and '
      'both for what is larger or smaller'
    )
  return points * (height_width(size)[0] / of_template[0])


def usual_template(size: ImageSize) -> str:
  """The template that most networks for such a size are trained on.

  >>> usual_template((112, 96))
  'sphereface'
  """
  fitting = (
    name
    for name, template in TEMPLATES.items()
    if same_proportions(size, template.size)
  )
  return next(fitting, 'arcface')


def estimate_similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """The rotation, scale and shift that move points onto targets best.

  Least squares (Umeyama 1991, https://doi.org/10.1109/34.88573), without
  reflections. In the plane a rotation with a scale is one complex factor, and
  the best one a quotient. OpenCV's estimateAffinePartial2D would leave out
  points that fit badly, and five are too few for that.

  Returns:
    [2, 3] float64: a point p goes to matrix[:, :2] @ p + matrix[:, 2].

  Raises:
    ValueError: the shapes differ, or the points are not finite or all in one
      place.
  """
  points, targets = np.asarray(points, float), np.asarray(targets, float)
  if points.shape != targets.shape or points.ndim != 2 or len(points) < 2:
    raise ValueError(
      f'landmarks have shape {points.shape}, wanted {targets.shape}: x and y '
      'of both eyes, the nose and both corners of the mouth'
    )
  centre, target_centre = points.mean(axis=0), targets.mean(axis=0)
  offsets = (points - centre) @ [1, 1j]
  spread = np.vdot(offsets, offsets).real
  if not math.isfinite(spread) or spread < 1e-9:
    raise ValueError(
      f'landmarks {points.round(1).tolist()} span no face: they have to be '
      'finite and in different places; take those of a detector'
    )
  factor = np.vdot(offsets, (targets - target_centre) @ [1, 1j]) / spread
  turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
  return np.column_stack([turn, target_centre - turn @ centre])


def warp(
  image: np.ndarray, matrix: np.ndarray, size: ImageSize, extend: bool = False
) -> np.ndarray:
  """Moves an image by a similarity, without aliasing, into a frame.

  Bilinear, as in InsightFace. That skips pixels below half the size, so there
  blocks of k x k pixels are averaged first, to a scale between a half and one.

  Args:
    image: what is moved.
    matrix: [2, 3], from pixels of the image to those of the frame.
    size: of the frame.
    extend: repeats the image's border pixels outside of it; else the frame is
      black there, as InsightFace's crops are.
  """
  height, width = height_width(size)
  turn, shift = matrix[:, :2], matrix[:, 2]
  ends = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - 0.5
  corners = (ends - shift) @ np.linalg.inv(turn).T
  block = max(int(1 / math.sqrt(abs(np.linalg.det(turn)))), 1)
  # Only the visible part, and two blocks around it to interpolate from:
  # photographs are large, and OpenCV warps at most 32,767 columns.
  limit = np.array(image.shape[1::-1])
  first = np.floor(corners.min(axis=0)).astype(int) - 2 * block
  last = np.ceil(corners.max(axis=0)).astype(int) + 2 * block + 1
  # Where nothing is visible, one pixel is left for the colour of the border.
  first = np.clip(first, 0, limit - 1)
  last = np.clip(last, first + 1, limit)
  part = image[first[1] : last[1], first[0] : last[0]]
  smaller = np.maximum((last - first) // block, 1)
  step = (last - first) / smaller
  if block > 1:
    part = cv2.resize(part, smaller.tolist(), interpolation=cv2.INTER_AREA)
  # Pixel i of the smaller image is centred at (i + 0.5) * step - 0.5.
  shift = shift + turn @ (first + 0.5 * step - 0.5)
  return cv2.warpAffine(
    part,
    np.column_stack([turn * step, shift]),
    (width, height),
    flags=cv2.INTER_LINEAR,
    borderMode=cv2.BORDER_REPLICATE if extend else cv2.BORDER_CONSTANT,
  )


def align_points(
  image: np.ndarray,
  landmarks: np.ndarray,
  size: ImageSize = 112,
  template: str = 'arcface',
) -> np.ndarray:
  """Moves five landmarks onto a template by a similarity.

  As InsightFace's `norm_crop`: the template is scaled to the size, and the crop
  is black outside of the photograph.

  Raises:
    ValueError: the landmarks are not five different finite points, or the size
      has other proportions than the template, one of `TEMPLATES`.
  """
  targets = template_points(template, size)
  return warp(image, estimate_similarity(landmarks, targets), size)


def crop_with_margin(
  image: np.ndarray,
  box: np.ndarray,
  size: ImageSize = 160,
  margin: int = MARGIN,
) -> np.ndarray:
  """Cuts out a box with a margin, and resizes it to the crop.

  As facenet-pytorch's `extract_face`: the margin counts in pixels of the crop,
  half on each side. (David Sandberg's `align_dataset_mtcnn.py` adds it in
  pixels of the photograph.) As in both, the box is cut at the photograph's
  border, and stretched to the proportions of the crop.

  Args:
    image: the photograph.
    box: [4] x, y, width, height in pixels of the image.
    size: of the crop.
    margin: in pixels of the crop.

  Raises:
    ValueError: the box lies outside of the image, or the margin is too large.
  """
  height, width = height_width(size)
  if not 0 <= margin < min(height, width):
    raise ValueError(
      f'margin is {margin}, wanted at least 0 and less than the size, '
      f'{shown_size(size)}'
    )
  corner, extent = np.asarray(box, float).reshape(2, 2)
  border = extent * (margin / (2 * (np.array([width, height]) - margin)))
  limit = np.array(image.shape[1::-1])
  first = np.clip(corner - border, 0, limit)
  last = np.clip(corner + extent + border, 0, limit)
  # This refuses NaN too.
  if not (last - first > 0).all():
    raise ValueError(
      f'box {np.round(box, 1).tolist()} (x, y, width, height) has no part in '
      f'the image of {limit[0]}x{limit[1]} pixels: take that of a detector'
    )
  whole = np.floor(first).astype(int)
  left, top = whole
  right, bottom = np.ceil(last).astype(int)
  part = Image.fromarray(image[top:bottom, left:right])
  # Pillow averages when it makes an image smaller, and cuts between pixels.
  crop = part.resize(
    (width, height),
    Image.Resampling.BILINEAR,
    box=(*(first - whole), *np.minimum(last - whole, part.size)),
  )
  return np.array(crop)


def cut_out(
  image: np.ndarray, face, template: str, size: ImageSize
) -> np.ndarray:
  """Cuts a face out onto the template of a `Fingerprint`.

  Args:
    image: the photograph.
    face: a `detection.Face`.
    template: one of `TEMPLATES`, or `WITH_MARGIN`.
    size: of the crop.

  Raises:
    ValueError: as `align_points` and `crop_with_margin` do.
  """
  if template == WITH_MARGIN:
    return crop_with_margin(image, face.box, size)
  return align_points(image, face.landmarks, size, template)
