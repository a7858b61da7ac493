"""The task of the timing benchmarks: network, optimiser and images."""

import numpy as np
from ml_collections import ConfigDict

from configs.models import MODELS

EMBEDDING_SIZE = 512
NUM_CLASSES = 1000
IMAGE_SIZE = 112
# Of ArcFace.
SCALE, MARGIN = 64.0, 0.5
# Of SGD. A small rate: on noise the losses have to stay finite.
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4


def make_model_block(name: str) -> ConfigDict:
  """The network of the paper."""
  block = MODELS[name]()
  block.embedding_size = EMBEDDING_SIZE
  if 'width' in block:
    block.width = 1.0
  return block


def make_batch(batch_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns noise: images [B, H, W, 3] uint8 and labels [B] int32."""
  rng = np.random.default_rng(0)
  shape = (batch_size, IMAGE_SIZE, IMAGE_SIZE, 3)
  images = rng.integers(0, 256, shape, np.uint8)
  return images, rng.integers(0, NUM_CLASSES, batch_size, np.int32)
