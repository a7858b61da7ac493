"""The blocks `loss`: one for each objective, with values for few people.

The scales and margins of the papers are for 10,000 people and more; on some
hundred they start slowly, or not at all.
"""

from ml_collections import ConfigDict


def softmax() -> ConfigDict:
  """Cosines without a margin (NormFace)."""
  return ConfigDict({'name': 'softmax', 'scale': 16.0, 'label_smoothing': 0.0})


def arcface() -> ConfigDict:
  """An additive angular margin. The paper: scale 64, margin 0.5."""
  return ConfigDict(
    {
      'name': 'arcface',
      'scale': 16.0,
      # In radians.
      'margin': 0.2,
      # Share of the wanted probability that is spread over all people.
      'label_smoothing': 0.0,
    }
  )


def cosface() -> ConfigDict:
  """An additive cosine margin. The paper: scale 64, margin 0.35."""
  return ConfigDict(
    {
      'name': 'cosface',
      'scale': 16.0,
      # A difference of cosines.
      'margin': 0.15,
      'label_smoothing': 0.0,
    }
  )


def combined() -> ConfigDict:
  """cos(m1 theta + m2) - m3. ArcFace's paper: (1, 0.3, 0.2), scale 64."""
  return ConfigDict(
    {
      'name': 'combined',
      'scale': 16.0,
      # A factor of the angle (SphereFace), radians (ArcFace), a difference of
      # cosines (CosFace).
      'm1': 1.0,
      'm2': 0.1,
      'm3': 0.1,
      'label_smoothing': 0.0,
    }
  )


def linear_softmax() -> ConfigDict:
  """A linear classifier on embeddings as they are, as facenet's."""
  return ConfigDict({'name': 'linear_softmax', 'label_smoothing': 0.0})


def center() -> ConfigDict:
  """The same with a center for each person; weight and alpha of the paper."""
  return ConfigDict(
    {
      'name': 'center',
      # Of half the squared distance to the center, beside the softmax.
      'weight': 0.003,
      # By which share of their distance to the images the centers move.
      'alpha': 0.5,
      'label_smoothing': 0.0,
    }
  )


def triplet() -> ConfigDict:
  """Distances compared within a batch: wants `data.people_per_batch`."""
  return ConfigDict(
    {
      'name': 'triplet',
      # Which triplets count: batch_all (the mean of those not satisfied),
      # batch_hard (the hardest of each anchor), semi_hard (the nearest negative
      # beyond the positive).
      'mining': 'batch_all',
      'margin': 0.2,
      # Squared distances, as FaceNet's; a collapse is harder to leave then.
      'squared': False,
    }
  )


def distillation() -> ConfigDict:
  """The embeddings of the float network that the run starts from."""
  return ConfigDict({'name': 'distillation'})


LOSSES = {
  function.__name__: function
  for function in (
    softmax,
    arcface,
    cosface,
    combined,
    linear_softmax,
    center,
    triplet,
    distillation,
  )
}
