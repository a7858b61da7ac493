"""A few images, to compare the embeddings of two networks or programs on."""

import pathlib

import ml_collections
import numpy as np

from faceqat.data import datasets
from faceqat.faces.images import decode_image
from faceqat.files import decoding


def load_example_images(
  config: ml_collections.ConfigDict, folder: str | None, count: int
) -> np.ndarray:
  """The first images in or below a folder, or of the evaluation set.

  Args:
    config: of a run.
    folder: of images of the run's size; None: the run's evaluation set.
    count: most images.

  Returns:
    `[B, H, W, 3] uint8`; B is `count` or what there is.

  Raises:
    ValueError: no image, a damaged one, or one of another size.
  """
  size = config.data.image_size
  if folder is None:
    images = datasets.make_evaluation_pairs(config.eval, image_size=size).images
    return np.stack([images[i] for i in range(min(count, len(images)))])
  files = sorted(
    path for path in pathlib.Path(folder).rglob('*') if decoding.is_image(path)
  )
  if not files:
    raise ValueError(
      f'--images={folder} is no folder with images; these end in '
      f'{", ".join(decoding.SUFFIXES)}'
    )
  return np.stack(
    [
      decode_image(path.read_bytes(), path, size, config.eval.stored_size)
      for path in files[:count]
    ]
  )


def spread_training_images(
  data: ml_collections.ConfigDict, path: str | None, count: int
) -> np.ndarray:
  """Images evenly spread over a training set, and so over its people.

  Args:
    data: the config's block `data`, of whose set they are by default.
    path: of another set: a folder `person/image.jpg`, or a RecordIO file.
    count: how many, if there are so many.

  Returns:
    `[count, H, W, 3] uint8`.

  Raises:
    ValueError: no such set, or one of another image size.
  """
  if path:
    data = data.copy_and_resolve_references()
    data.update(validation_people=0, holdout_images_per_person=0)
    # It may name several sets.
    with data.ignore_type():
      data.path = path
  source = datasets.make_training_data(data).train
  spread = np.linspace(0, len(source) - 1, min(count, len(source)))
  return np.stack([source[int(index)]['image'] for index in spread])
