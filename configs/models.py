"""The block `model` of each network; its `Model` documents the fields."""

from ml_collections import ConfigDict

from configs import common


def _model(name: str, embedding_size: int, **fields) -> ConfigDict:
  return ConfigDict(
    {
      # Its module in faceqat/models/.
      'name': name,
      # Numbers of an embedding.
      'embedding_size': embedding_size,
      # Of the blocks in each stage.
      'depth_multiplier': 1.0,
      **fields,
      'norm': common.batch_norm(),
      # Of the float computation: 'float32' or 'bfloat16', which is for GPUs and
      # TPUs: on a CPU it may be the slower one (benchmarks/training_step.py).
      'dtype': 'float32',
    }
  )


def mobilenet_v2() -> ConfigDict:
  return _model('mobilenet_v2', 128, width=0.5)


def mobilenet_v1() -> ConfigDict:
  """As OpenCV's SFace."""
  return _model('mobilenet_v1', 128, width=1.0, dropout=0.4)


def mobilefacenet() -> ConfigDict:
  # Of the channels inside of blocks. A wider pretrained network is cut.
  return _model('mobilefacenet', 128, inner_width=1.0)


def iresnet(
  depth: int, *, squeeze_excite: bool = False, shortcut: str = 'subsample'
) -> ConfigDict:
  """As face.evoLVe builds it."""
  return _model(
    'iresnet',
    512,
    depth=depth,
    squeeze_excite=squeeze_excite,
    shortcut=shortcut,
    dropout=0.4,
  )


def resnet50() -> ConfigDict:
  """As dmonterom/face_recognition_TF2 and insightface build it."""
  return iresnet(50, shortcut='projection')


def facenet_nn2() -> ConfigDict:
  return _model('facenet_nn2', 128)


def inception_resnet_v1() -> ConfigDict:
  return _model('inception_resnet_v1', 512, dropout=0.2)


MODELS = {
  'mobilenet_v2': mobilenet_v2,
  'mobilenet_v1': mobilenet_v1,
  'mobilefacenet': mobilefacenet,
  'ir18': lambda: iresnet(18),
  'ir34': lambda: iresnet(34),
  'ir50': lambda: iresnet(50),
  'ir100': lambda: iresnet(100),
  'ir50_se': lambda: iresnet(50, squeeze_excite=True),
  'resnet50': resnet50,
  'facenet_nn2': facenet_nn2,
  'inception_resnet_v1': inception_resnet_v1,
}
