"""IR-50 (ArcFace's improved residual network), int8 QAT, ArcFace.

  python -m faceqat.main --config=configs/ir50_arcface_int8.py \
    --workdir=runs/ir50_arcface_int8 --config.data.path=FACES

Smaller and larger ones: --config.model.depth=18, 34 or 100. A step of 32 images
takes some 10 s on 2 CPU cores: train it on a GPU, or its depth of 18.
"""

from ml_collections import ConfigDict

from configs import mbv2_int8, models
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  """Makes the config; `arg` is as `compose` takes it."""
  config = mbv2_int8.get_config()
  config.model = models.iresnet(50)
  config.optimizer.learning_rate = 1e-3
  config.batch_size = 32
  return compose(config, arg)
