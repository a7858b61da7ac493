"""IJB-B and IJB-C, 1:1: templates of several images, and pairs of templates."""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np

from faceqat.faces import images as face_images
from faceqat.faces.alignment import align_points
from faceqat.faces.image_files import read_lines
from faceqat.faces.lazy_images import LazyImages
from faceqat.faces.photographs import read_photograph
from faceqat.files.image_size import ImageSize


@dataclasses.dataclass(frozen=True)
class TemplateSet:
  """Images, their templates, and pairs of templates to compare.

  Attributes:
    name: of the benchmark.
    images: `len(images)` and `images[i]` -> uint8 [H, W, 3].
    template: int64 [N], the template of each image, in 0 .. T-1.
    media: int64 [N], the photograph or video of each image.
    quality: float64 [N], at least 0, of each image: the face detector's score.
    first: int64 [P], the first template of every pair.
    second: int64 [P], the second one.
    same: bool [P], whether both are of the same person.
  """

  name: str
  images: Sequence[np.ndarray]
  template: np.ndarray
  media: np.ndarray
  quality: np.ndarray
  first: np.ndarray
  second: np.ndarray
  same: np.ndarray

  def __len__(self) -> int:
    return len(self.first)


def read_ijb(
  folder: str | os.PathLike, image_size: ImageSize, template: str = 'arcface'
) -> TemplateSet:
  """Reads IJB-B or IJB-C as InsightFace distributes their lists.

  `meta/` has, with `ijbb` or `ijbc` in place of X, `X_face_tid_mid.txt`, a line
  `image template media` for each image; `X_name_5pts_score.txt`, the same
  images with their landmarks and the detector's score, `image x y x y x y x y x
  y score`; and `X_template_pair_label.txt`, lines `template template label`,
  label 1 for one person. The images are in `loose_crop/` and are aligned here.
  Source: InsightFace, recognition/arcface_torch/eval_ijbc.py; Maze et al. 2018,
  "IARPA Janus Benchmark - C".

  Args:
    folder: has `meta` and `loose_crop`.
    image_size: height and width of the images given, in pixels.
    template: one of `alignment.TEMPLATES`, to align them to.

  Raises:
    ValueError: a list is missing, has a line of another form, or does not fit
      the others.
  """
  meta = pathlib.Path(folder) / 'meta'
  lists = sorted(meta.glob('*_face_tid_mid.txt'))
  if len(lists) != 1:
    raise ValueError(
      f'{meta} has {len(lists)} lists *_face_tid_mid.txt, wanted one: give the '
      'folder that has meta/ and loose_crop/ of IJB-B or IJB-C in it'
    )
  name = lists[0].name.removesuffix('_face_tid_mid.txt')
  images, faces = _read_numbers(lists[0], 2, 'image template media')
  points = _read_points(
    meta / f'{name}_name_5pts_score.txt', images, lists[0].name
  )
  path = meta / f'{name}_template_pair_label.txt'
  pairs = _read_pairs(path)
  templates, of_image = np.unique(faces[:, 0], return_inverse=True)
  absent = np.setdiff1d(pairs[:, :2], templates)
  if len(absent) or not np.isin(pairs[:, 2], (0, 1)).all():
    what = f'the template {absent[0]}' if len(absent) else 'another label'
    raise ValueError(
      f'{path} has {what}, wanted templates of {lists[0].name} and the labels '
      '0 and 1: restore the lists'
    )
  return TemplateSet(
    name=name,
    images=_aligned_images(
      [os.path.join(folder, 'loose_crop', image) for image in images],
      points[:, :10].reshape(-1, 5, 2),
      image_size,
      template,
    ),
    template=of_image,
    media=faces[:, 1],
    quality=points[:, 10],
    first=np.searchsorted(templates, pairs[:, 0]),
    second=np.searchsorted(templates, pairs[:, 1]),
    same=pairs[:, 2] == 1,
  )


def _aligned_images(
  paths: list[str], landmarks: np.ndarray, size: ImageSize, template: str
) -> LazyImages:
  def pixels(index: int) -> np.ndarray:
    image = read_photograph(paths[index])
    return align_points(image, landmarks[index], size, template)

  def encoded(index: int) -> bytes:
    return face_images.checked(
      face_images.read_file(paths[index]), paths[index]
    )

  return LazyImages(len(paths), pixels, encoded)


def _read_points(
  path: pathlib.Path, images: list[str], list_name: str
) -> np.ndarray:
  """Five landmarks and a score of each image, float64 [N, 11]."""
  named, points = _read_numbers(
    path, 11, 'image, five times x y, score', np.float64
  )
  if named != images:
    raise ValueError(
      f'{path} is not of the images of {list_name}, in their order: restore '
      'the lists'
    )
  return points


def _read_numbers(
  path: pathlib.Path, count: int, form: str, kind: type = np.int64
) -> tuple[list[str], np.ndarray]:
  """Lines of an image and numbers: the images [N], the numbers [N, count]."""
  names, rows = [], []
  for number, line in enumerate(read_lines(path), start=1):
    image, *fields = line.split()[: count + 2] or ['']
    try:
      row = np.array(fields).astype(kind)
    # OverflowError: of numbers beyond 64 bits.
    except (ValueError, OverflowError):
      row = np.array([])
    if len(row) != count or not np.isfinite(row).all():
      raise ValueError(f'{path}, line {number} is "{line[:80]}", wanted {form}')
    # A list from elsewhere must not read outside the folder.
    if {'', '.', '..'} & set(image.split('/')) or '\\' in image:
      raise ValueError(
        f'{path}, line {number} names "{image}", which is no file name'
      )
    names.append(image)
    rows.append(row)
  return names, np.array(rows)


def _read_pairs(path: pathlib.Path) -> np.ndarray:
  """int64 [P, 3]. IJB-C has 15 million lines, which numpy reads in seconds."""
  try:
    with warnings.catch_warnings():
      # An empty file.
      warnings.simplefilter('error')
      pairs = np.loadtxt(path, np.int64, ndmin=2)
  except FileNotFoundError:
    raise ValueError(f'There is no list of pairs {path}') from None
  except (ValueError, UserWarning) as error:
    raise ValueError(
      f'{path} is no list of lines "template template label": {error}'
    ) from error
  if pairs.shape[1] != 3:
    raise ValueError(
      f'{path} has {pairs.shape[1]} numbers a line, wanted three, "template '
      'template label"'
    )
  return pairs
