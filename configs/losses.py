"""The block `loss` of each objective, with values for few people.

The scales and margins of the papers are for 10,000 people and more; with some
hundred people a training starts slowly with them, or not at all.
"""

from ml_collections import ConfigDict, config_dict

# Of losses that have no form in parts; True is refused.
_WHOLE = {'sharded': False}


def _margin(name: str, **margins: float) -> ConfigDict:
  return ConfigDict(
    {
      'name': name,
      # Of the cosines, before the softmax.
      'scale': 16.0,
      **margins,
      # The share of the target probability that is spread over all people.
      'label_smoothing': 0.0,
      # For many people: each device holds a part of the class weights, and the
      # logits of a few thousand people at a time. The losses are the same.
      # None: where there are `objective.PEOPLE_TO_SHARD` people or more, or the
      # two fields below ask for it.
      'sharded': config_dict.placeholder(bool),
      # Where sharded: the share of the people whom a step compares its images
      # with, beside their own (PartialFC, An 2022); 1.0: all.
      'sample_rate': 1.0,
      # Where sharded: of class weights and their momentum, 'float32', or
      # 'bfloat16', which is half of that, and faster on a GPU.
      'dtype': 'float32',
    }
  )


def softmax() -> ConfigDict:
  """Cosines without a margin (NormFace)."""
  return _margin('softmax')


def arcface() -> ConfigDict:
  """An additive margin in radians. The paper: scale 64, margin 0.5."""
  return _margin('arcface', margin=0.2)


def cosface() -> ConfigDict:
  """An additive margin of the cosine. The paper: scale 64, margin 0.35."""
  return _margin('cosface', margin=0.15)


def combined() -> ConfigDict:
  """cos(m1 theta + m2) - m3: SphereFace's, ArcFace's and CosFace's margin.

  ArcFace's paper: (1, 0.3, 0.2), scale 64.
  """
  return _margin('combined', m1=1.0, m2=0.1, m3=0.1)


def linear_softmax() -> ConfigDict:
  """A linear classifier on embeddings as they are, as facenet's."""
  return ConfigDict(
    {'name': 'linear_softmax', 'label_smoothing': 0.0, **_WHOLE}
  )


def center() -> ConfigDict:
  """The same with a center for each person; weight and alpha of the paper."""
  return ConfigDict(
    {
      **linear_softmax(),
      'name': 'center',
      # Of half the squared distance to the center, beside the softmax.
      'weight': 0.003,
      # Centers move by this share of their distance to the images.
      'alpha': 0.5,
    }
  )


def triplet() -> ConfigDict:
  """Distances compared within a batch; needs `data.people_per_batch`."""
  return ConfigDict(
    {
      'name': 'triplet',
      # Which triplets count: batch_all (the mean of those that violate the
      # margin), batch_hard (the hardest of each anchor), semi_hard (the nearest
      # negative beyond the positive).
      'mining': 'batch_all',
      'margin': 0.2,
      # Squared distances, as in FaceNet; a collapse is then harder to leave.
      'squared': False,
      **_WHOLE,
    }
  )


def distillation() -> ConfigDict:
  """The embeddings of another network, in float."""
  return ConfigDict(
    {
      'name': 'distillation',
      # Of that network: 'sface', which the requirements install; a run; a file
      # of weights of the run's own model; or '', what `pretrained` names.
      'teacher': '',
      # Weight of the error of what blocks put out, where the teacher has the
      # same blocks; 0: embeddings alone.
      'features': 0.0,
      **_WHOLE,
    }
  )


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
