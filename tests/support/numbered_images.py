"""A source of images that are filled with their numbers, and its batches."""

import itertools

import jax
import numpy as np

from faceqat.data import pipeline
from faceqat.data.augment_batch import augment_batch
from faceqat.faces import images


class Numbered:
  """Image i is filled with i; the images in `damaged` cannot be decoded."""

  def __init__(self, counts, damaged=(), size=4):
    self.labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    self.class_names = [f'person{label}' for label in range(len(counts))]
    self.damaged = frozenset(damaged)
    self.size = size

  def __len__(self):
    return len(self.labels)

  def __getitem__(self, index):
    if index in self.damaged:
      raise images.DamagedImageError(f'{self.name(index)} cannot be decoded')
    image = np.full((self.size, self.size, 3), index, np.uint8)
    return {'image': image, 'label': self.labels[index]}

  def name(self, index):
    return f'image{index}'


def make(source, batch_size, *, seed=0, augment_fn=None, skip=False, **options):
  return pipeline.make_train_iterator(
    source,
    batch_size=batch_size,
    seed=seed,
    augment=augment_fn,
    skip_damaged=skip,
    num_threads=2,
    **options,
  )


def take(iterator, count):
  return list(map(augmented, itertools.islice(iterator, count)))


def augmented(batch):
  """The batch as a training step gets it."""
  if 'draw' not in batch:
    return batch
  return jax.tree.map(np.asarray, augment_batch(batch))


def numbers(batch):
  return batch['image'][:, 0, 0, 0].tolist()


def order(iterator, count):
  return [
    number for batch in take(iterator, count) for number in numbers(batch)
  ]
