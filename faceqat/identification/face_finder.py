"""Finds the faces in photographs, and cuts them out as a network wants them."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from faceqat.faces import alignment, detection, images
from faceqat.faces.detection import Face
from faceqat.files.image_size import ImageSize


class FaceFinder:
  """A detector, and the crops that a network takes.

  Args:
    template: of `alignment.TEMPLATES` or `alignment.WITH_MARGIN`.
    image_size: of the crops.
    stored_size: to which the network's training images were aligned before
      they were resized; 0: image_size.
    bgr: the network takes BGR.
    detector: an ONNX file; None: the packaged one.

  Raises:
    ValueError: another template, a size that it is not for, or no detector.
  """

  def __init__(
    self,
    template: str,
    image_size: ImageSize,
    stored_size: ImageSize = 0,
    *,
    bgr: bool = False,
    detector: str | os.PathLike[str] | None = None,
  ):
    self._size, self._aligned_size = images.wanted_and_stored(
      image_size, stored_size
    )
    _check_template(template, self._aligned_size)
    self._template, self._bgr = template, bgr
    self._detect = detection.make_detector(detector)

  def detect(self, image: np.ndarray) -> list[Face]:
    """The faces in a photograph, uint8 [H, W, 3] RGB, the surest first."""
    return self._detect(image)

  def cut(self, image: np.ndarray, faces: Sequence[Face]) -> list[np.ndarray]:
    """The crop of each face, uint8 [H, W, 3]."""
    crops = []
    for face in faces:
      crop = alignment.cut_out(image, face, self._template, self._aligned_size)
      # Resized as the training images were.
      crop = np.asarray(images.resize(Image.fromarray(crop), self._size))
      crops.append(crop[:, :, ::-1] if self._bgr else crop)
    return crops


def _check_template(template: str, size: ImageSize):
  if template == alignment.WITH_MARGIN:
    return
  if template not in alignment.TEMPLATES:
    names = ', '.join([*alignment.TEMPLATES, alignment.WITH_MARGIN])
    raise ValueError(
      f'--photographs: the faces of --model are aligned as {template!r}, which '
      f'is not one of {names}; align them as they were for training, and leave '
      '--photographs out'
    )
  try:
    alignment.template_points(template, size)
  except ValueError as error:
    raise ValueError(f'--photographs: {error}') from error
