"""A network that is ready to run: faces, embeddings and decisions.

This is what `faceqat.load` gives. A program and an exported file need no JAX
for their first images, and no Flax at all.
"""

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from faceqat.api import arguments
from faceqat.api.decision import Decision, Rate, rate_of_score
from faceqat.evaluators import rate_table, verification
from faceqat.identification import embedders
from faceqat.identification.embedders import Embedder
from faceqat.integer import template_score
from faceqat.integer.program import CONTRACTS

if TYPE_CHECKING:
  from faceqat.faces.quality import Quality
  from faceqat.identification.face_finder import FaceFinder

Path = str | os.PathLike[str]
# The path of an image, or its pixels, uint8 [H, W, 3] RGB.
Image = Path | npt.NDArray[np.uint8]

# Images in one call of the network, which is compiled for each of these sizes
# at most; a batch of any size is a sum of them.
_SIZES = (64, 8, 1)


class Face(NamedTuple):
  """A face in a photograph.

  Attributes:
    crop: uint8 [H, W, 3], the face as the network takes it.
    box: [4] float64: x, y, width, height in pixels of the photograph; may
      reach outside.
    landmarks: [5, 2] float64: x, y of the eyes, the nose and the corners of
      the mouth, from the left to the right of the photograph.
    score: 0 .. 1, how sure the detector is.
    quality: size, pose, sharpness and exposure, with `faces.quality`'s units.
    why_not: why it is not usable, such as 'turned by 60 degrees'; '' if it is.
  """

  crop: npt.NDArray[np.uint8]
  box: npt.NDArray[np.float64]
  landmarks: npt.NDArray[np.float64]
  score: float
  quality: 'Quality'
  why_not: str

  def __repr__(self) -> str:
    shape, box = list(self.crop.shape), [round(float(x)) for x in self.box]
    why_not = f', {self.why_not}' if self.why_not else ''
    return (
      f'<faceqat.Face crop {shape}, box {box}, score {self.score:.2f}{why_not}>'
    )


def load(
  path: Path,
  precision: str | None = None,
  *,
  step: str | int = 'latest',
  contract: str | None = None,
) -> 'Model':
  """Loads a network.

  Args:
    path: the folder of a training run, a program (`.safetensors`), a `.tflite`
      or `.onnx` that `faceqat.convert` wrote, or the name of a network that
      comes with faceqat, `sface_int8`.
    precision: of a run, 'float', 'fake_quant' or 'integer', which None is. A
      file has integers alone.
    step: of a run: 'latest', 'best' or a number.
    contract: whose rounding a run is lowered to, 'tflite_ref', which None is,
      or 'xnnpack'. A file has its own.

  Raises:
    ValueError: there is nothing of that name, it is damaged, or it has no such
      precision, step or contract.

  >>> load('program.safetensors')
  <faceqat.Model program.safetensors, integer, 112x112>
  """
  name = os.fspath(path)
  embedder = embedders.load(path, precision, step, contract or CONTRACTS[0])
  if contract and embedder.contract not in ('', contract):
    raise ValueError(
      f'contract is {contract!r}, and {name} has {embedder.contract!r}; leave '
      'it out, or give the folder of the training run'
    )
  return Model(embedder, name)


class Model:
  """Finds faces, embeds and compares them.

  Attributes:
    name: of the network, the path that it was loaded from.
    precision: 'float', 'fake_quant' or 'integer'.
    image_size: height and width of the crops that it takes, in pixels.
  """

  def __init__(self, embedder: Embedder, name: Path):
    self.name = os.fspath(name)
    self.precision = embedder.precision
    self.image_size = embedder.image_size
    self.embedder = embedder

  def __repr__(self) -> str:
    height, width = self.image_size
    return f'<faceqat.Model {self.name}, {self.precision}, {height}x{width}>'

  def detect(self, photograph: Image) -> list[Face]:
    """Finds the faces in a photograph, and cuts them out for this network.

    Args:
      photograph: a path, or uint8 [H, W, 3] RGB.

    Returns:
      The faces, the largest first; none if there are none.

    Raises:
      ValueError: the photograph cannot be read, or this network's faces are
        aligned in a way of the user's own.

    >>> (face,) = load('program.safetensors').detect('photograph.jpg')
    >>> face.crop.shape, face.box.shape, face.landmarks.shape
    ((112, 112, 3), (4,), (5, 2))
    """
    from faceqat.faces import choice, quality

    image = _pixels(photograph)
    faces = choice.choose(self._finder.detect(image), 'all', image.shape)
    bars, found = quality.Bars(), []
    for face, crop in zip(faces, self._finder.cut(image, faces)):
      measured = quality.measure(image, face)
      why_not = quality.why_not(measured, bars)
      found.append(
        Face(crop, face.box, face.landmarks, face.score, measured, why_not)
      )
    return found

  def embed(
    self,
    crops: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8] | Face],
    *,
    mirrored: bool = False,
  ) -> npt.NDArray[np.generic]:
    """Embeds faces.

    Args:
      crops: N faces of `image_size`, uint8 [N, H, W, 3] RGB, or a sequence of
        [H, W, 3] or of what `detect` gives; N may be 0.
      mirrored: adds the embedding of each crop's mirror image, as `verify`,
        galleries and the published accuracies do: twice the work, and a
        little more accurate.

    Returns:
      [N, D], not normalised: int8 of a network in integers (int16 with
      `mirrored`), else float32. Scores are cosines, so the scale plays no part.

    Raises:
      ValueError: crops of another size or type, or an embedding that is not
        finite.

    >>> model = load('program.safetensors')
    >>> crops = np.zeros([9, 112, 112, 3], np.uint8)
    >>> model.embed(crops).shape, model.embed(crops).dtype
    ((9, 64), dtype('int8'))
    """
    batch = self._checked(crops)
    if not len(batch):
      return self._embed(np.zeros([1, *batch.shape[1:]], np.uint8), mirrored)[
        :0
      ]
    parts, start = [], 0
    while start < len(batch):
      size = next(size for size in _SIZES if size <= len(batch) - start)
      parts.append(self._embed(batch[start : start + size], mirrored))
      start += size
    return np.concatenate(parts)

  def verify(
    self,
    a: Image,
    b: Image,
    *,
    threshold: float | None = None,
    aligned: bool = False,
  ) -> Decision:
    """Says whether two photographs show the same person.

    Args:
      a, b: paths, or uint8 [H, W, 3] RGB.
      threshold: the cosine that makes them one person; None: `self.threshold`.
      aligned: they are faces of `image_size` already, and no photographs.

    Raises:
      ValueError: a photograph cannot be read, or a threshold is no cosine.

    >>> model = load('program.safetensors')
    >>> model.verify('one.jpg', 'other.jpg', threshold=0.4).same
    False
    >>> nobody = np.zeros([200, 200, 3], np.uint8)
    >>> model.verify('one.jpg', nobody).why_not
    'no face is found in the second image'
    """
    threshold = self.threshold if threshold is None else threshold
    if threshold is not None:
      arguments.check_cosine(threshold, 'threshold')
    crops = []
    for image, name in ((a, 'the first image'), (b, 'the second image')):
      pixels = _pixels(image)
      name = name if isinstance(image, np.ndarray) else os.fspath(image)
      if aligned:
        crops.append(pixels)
        continue
      crop, why_not = self._only_face(pixels, name)
      if crop is None:
        return Decision(None, None, threshold, None, why_not)
      crops.append(crop)
    score = _cosine(*self.embed(crops, mirrored=True))
    rate = self.false_match_rate(score)
    if threshold is None:
      return Decision(
        None,
        score,
        None,
        rate,
        f'nobody has measured how often other people reach a score of '
        f'{self.name}; give a threshold',
      )
    return Decision(score >= threshold, score, threshold, rate, '')

  def false_match_rate(self, score: float) -> Rate | None:
    """How often two different people reach a cosine, as far as was measured.

    None where nothing was measured of this network.

    Raises:
      ValueError: the score is no cosine.
    """
    arguments.check_cosine(score, 'score')
    table = self.embedder.table
    return None if table is None else rate_of_score(table, score)

  @property
  def threshold(self) -> float | None:
    """The cosine that `verify` asks for; None where nothing was measured."""
    table = self.embedder.table
    return None if table is None else rate_table.default_row(table).threshold

  @functools.cached_property
  def digest(self) -> str:
    """64 hex digits of what the network computes, as galleries keep them.

    A run in integers, its program and the files exported from it have the same.
    """
    return self.embedder.digest(1)

  @functools.cached_property
  def _finder(self) -> 'FaceFinder':
    # Crops need no detector, whose library is large.
    from faceqat.identification.face_finder import FaceFinder

    network = self.embedder
    return FaceFinder(
      network.template,
      network.image_size,
      network.stored_size,
      bgr=network.is_bgr,
    )

  def _only_face(
    self, image: npt.NDArray[np.uint8], name: str
  ) -> tuple[npt.NDArray[np.uint8] | None, str]:
    """The crop of the largest face; or None, and why there is none."""
    from faceqat.faces import choice, quality

    faces = self._finder.detect(image)
    if not faces:
      return None, f'no face is found in {name}'
    if choice.is_ambiguous(faces, 'largest', image.shape):
      return None, (
        f'{name} shows several faces of similar size: crop it to one of them'
      )
    (face,) = choice.choose(faces, 'largest', image.shape)
    why_not = quality.why_not(quality.measure(image, face), quality.Bars())
    if why_not:
      return None, f'the face in {name} is not usable: {why_not}'
    (crop,) = self._finder.cut(image, [face])
    return crop, ''

  def _embed(
    self, batch: npt.NDArray[np.uint8], mirrored: bool
  ) -> npt.NDArray[np.generic]:
    predict, integer = self.embedder.predict, self.precision == 'integer'
    found = np.asarray(predict(batch))
    if mirrored:
      others = predict(np.ascontiguousarray(batch[:, :, ::-1]))
      found = verification.sum_views(found, others)
    if integer:
      fits = self.embedder.is_symmetric and not mirrored
      return found.astype(np.int8 if fits else np.int16)
    verification.check_finite(found)
    return found

  def _checked(
    self, crops: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8] | Face]
  ) -> npt.NDArray[np.uint8]:
    """The crops, uint8 [N, H, W, 3]."""
    if isinstance(crops, Face):
      crops = crops.crop
    elif isinstance(crops, list | tuple):
      crops = [x.crop if isinstance(x, Face) else x for x in crops]
    arguments.check_crops(crops, self.image_size)
    if not len(crops):
      return np.zeros([0, *self.image_size, 3], np.uint8)
    return np.ascontiguousarray(crops)


def _pixels(image: Image) -> npt.NDArray[np.uint8]:
  """The photograph, uint8 [H, W, 3] RGB."""
  arguments.check_image(image)
  if isinstance(image, np.ndarray):
    return image
  from faceqat.faces import photographs

  return photographs.read_photograph(image)


def _cosine(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
  """Of two templates [D]: of integers the exact one, as `identify` has it."""
  if np.issubdtype(a.dtype, np.integer):
    return template_score.score(a, b) / template_score.ONE
  return float(verification.cosine(a[np.newaxis], b[np.newaxis])[0])
