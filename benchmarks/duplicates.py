"""Measures how well perceptual hashes separate copies of a face from others.

  python -m benchmarks.duplicates FOLDER

FOLDER holds aligned faces, person/image. The benchmark prints the smallest
distances between pictures of different people (look at them: some are one
picture under two names), the distances of copies of 500 pictures from their
originals, and the time. The numbers in faceqat/preparation/duplicates.py are of
LFW.
"""

import io
import pathlib
import time

import numpy as np
from PIL import Image, ImageEnhance

from faceqat import command
from faceqat.faces import photographs
from faceqat.preparation import duplicates, listing

_COPIES = 500
_SHOWN = 20
_FAR = 60


def _saved(picture, quality):
  stream = io.BytesIO()
  picture.save(stream, 'JPEG', quality=quality)
  return Image.open(stream)


def _moved(picture):
  return picture.transform(
    picture.size,
    Image.Transform.AFFINE,
    (1, 0, 1.0, 0, 1, 0.7),
    Image.Resampling.BICUBIC,
  )


CHANGES = {
  'saved with quality 30': lambda p: _saved(p, 30),
  'saved with quality 75': lambda p: _saved(p, 75),
  'half the size': lambda p: p.reduce(2),
  'twice the size': lambda p: p.resize((2 * p.width, 2 * p.height)),
  'brighter by 20 %': lambda p: ImageEnhance.Brightness(p).enhance(1.2),
  'contrast up by 30 %': lambda p: ImageEnhance.Contrast(p).enhance(1.3),
  'grey': lambda p: p.convert('L'),
  'moved by 1.2 pixels': _moved,
  'turned by 1 degree': lambda p: p.rotate(1, Image.Resampling.BICUBIC),
  'turned by 2 degrees': lambda p: p.rotate(2, Image.Resampling.BICUBIC),
}


def _distances(a, b):
  return np.bitwise_count(a ^ b).sum(axis=1)


def main(folder):
  found = listing.list_photographs(folder)
  files = [photograph.name for photograph in found.photographs]
  people = np.array([photograph.person for photograph in found.photographs])
  pictures = [
    photographs.read_photograph(pathlib.Path(found.root, name))
    for name in files
  ]
  start = time.perf_counter()
  hashes = np.array([duplicates.perceptual_hash(p) for p in pictures])
  hashed = time.perf_counter()
  pairs = duplicates.near_pairs(hashes, max_distance=_FAR)
  ended = time.perf_counter()
  print(
    f'{len(files)} pictures: {1e3 * (hashed - start) / len(files):.2f} ms a '
    f'hash, {ended - hashed:.1f} s for all pairs'
  )
  distances = _distances(hashes[pairs[:, 0]], hashes[pairs[:, 1]])
  different = people[pairs[:, 0]] != people[pairs[:, 1]]
  near = distances <= duplicates.MAX_DISTANCE
  print(
    f'{np.sum(near & ~different)} pairs of one person and '
    f'{np.sum(near & different)} of different people are at most '
    f'{duplicates.MAX_DISTANCE} bits apart; different people, the nearest:'
  )
  order = np.flatnonzero(different)[np.argsort(distances[different])]
  for place in order[:_SHOWN]:
    one, two = pairs[place]
    print(f'  {distances[place]:3d}  {files[one]}  {files[two]}')
  some = np.random.default_rng(0).permutation(len(files))[:_COPIES]
  for title, change in CHANGES.items():
    copies = [
      duplicates.perceptual_hash(
        np.asarray(change(Image.fromarray(pictures[i])).convert('RGB'))
      )
      for i in some
    ]
    apart = _distances(np.array(copies), hashes[some])
    recall = np.mean(apart <= duplicates.MAX_DISTANCE)
    print(
      f'{title:22}  found {100 * recall:5.1f} %, at most {apart.max()} bits'
    )


if __name__ == '__main__':
  command.run(main, ('FOLDER',))
