"""Which of the faces in a photograph is meant.

A photograph in a person's folder is of that person, but others may stand in
the background. Where a second face is nearly as good a choice, nobody can
know, and `is_ambiguous` says so.
"""

from collections.abc import Sequence

import numpy as np

from faceqat.faces.detection import Face

CHOICES = ('largest', 'central', 'all')

# A face that loses by less than half of the chosen one's area might be meant.
_CLEAR_LEAD = 0.5


def choose(
  faces: Sequence[Face], choice: str, image_shape: Sequence[int]
) -> list[Face]:
  """The faces to take.

  Args:
    faces: those found in one photograph, in any order.
    choice: 'largest', the one whose box has the largest area; 'central', the
      one whose area less twice the squared distance of its centre from the
      photograph's is largest, as in FaceNet's `align_dataset_mtcnn.py`, so
      that a small face is not taken for being in the middle alone; 'all'.
    image_shape: [H, W, ...] of the photograph.

  Returns:
    One face, or all, the largest first; none where none was found.

  Raises:
    ValueError: the choice is none of `CHOICES`.
  """
  ranks = _ranks(faces, choice, image_shape)
  order = np.argsort(-ranks, kind='stable')
  chosen = [faces[index] for index in order]
  return chosen if choice == 'all' else chosen[:1]


def is_ambiguous(
  faces: Sequence[Face], choice: str, image_shape: Sequence[int]
) -> bool:
  """Whether another face is nearly as good a choice as the one taken.

  It is if the rank by which faces are chosen (see `choose`) is lower by less
  than half of the chosen face's area: with 'largest', if it has more than half
  of that area. Where all are taken, nothing is ambiguous.

  Args:
    faces: those found in one photograph.
    choice: one of `CHOICES`.
    image_shape: [H, W, ...] of the photograph.

  Raises:
    ValueError: the choice is none of `CHOICES`.
  """
  ranks = _ranks(faces, choice, image_shape)
  if choice == 'all' or len(faces) < 2:
    return False
  second, best = np.argsort(ranks, kind='stable')[-2:]
  lead = ranks[best] - ranks[second]
  return bool(lead < _CLEAR_LEAD * np.prod(faces[best].box[2:]))


def _ranks(faces, choice, image_shape):
  """[N] float: areas in pixels, less what the distance takes off."""
  if choice not in CHOICES:
    raise ValueError(f'choice is {choice!r}; take one of {", ".join(CHOICES)}.')
  boxes = np.array([face.box for face in faces], float).reshape(-1, 4)
  areas = boxes[:, 2] * boxes[:, 3]
  if choice != 'central':
    return areas
  middle = np.array(image_shape[1::-1]) / 2
  offsets = boxes[:, :2] + boxes[:, 2:] / 2 - middle
  return areas - 2 * (offsets**2).sum(axis=1)
