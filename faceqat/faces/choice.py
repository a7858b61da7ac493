"""Chooses among the faces in a photograph.

Others may stand behind the person whom a photograph is of. Where a second face
is nearly as good a choice, it is ambiguous.
"""

from collections.abc import Sequence

import numpy as np

from faceqat.faces.detection import Face
from faceqat.fields import check_value

CHOICES = ('largest', 'central', 'all')

# By how much, as a share of its area, a face must win to be clear.
_CLEAR_LEAD = 0.5


def choose(
  faces: Sequence[Face], choice: str, image_shape: Sequence[int]
) -> list[Face]:
  """Chooses one face, or all, the largest first.

  Args:
    faces: those of one photograph, in any order.
    choice: 'largest', by the area of the box; 'central', by the area less
      twice the squared distance of its centre from the photograph's, as in
      FaceNet's `align_dataset_mtcnn.py`; 'all'.
    image_shape: [H, W, ...] of the photograph.

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

  It is if its rank (see `choose`) is lower by less than half of the chosen
  face's area: with 'largest', if it has more than half of that area. The choice
  of all faces is never ambiguous.

  Args:
    faces, choice, image_shape: see `choose`.

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
  """[N] float: areas in pixels; of the central choice, less the distance."""
  check_value('choice', choice, CHOICES)
  boxes = np.array([face.box for face in faces], float).reshape(-1, 4)
  areas = boxes[:, 2] * boxes[:, 3]
  if choice != 'central':
    return areas
  middle = np.array(image_shape[1::-1]) / 2
  offsets = boxes[:, :2] + boxes[:, 2:] / 2 - middle
  return areas - 2 * (offsets**2).sum(axis=1)
