"""IR-50 (ArcFace's improved residual network), int8 QAT, ArcFace.

  python -m faceqat.main --config=configs/ir50_arcface_int8.py \
    --workdir=runs/ir50_arcface_int8 --config.data.path=FACES

Other sizes: --config.model.depth=18, 34 or 100. Use a GPU, or on a CPU a depth
of 18 and smaller images, as in docs/results.md: 77.1 % on LFW in integers and
in float after 800 steps at 56x56 (one run, seed 0, AVX512-VNNI; spread not
measured).
"""

from ml_collections import ConfigDict

from configs import models
from configs.base import make_base
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = make_base()
  config.model = models.iresnet(50)
  config.optimizer.learning_rate = 1e-3
  config.batch_size = 32
  return compose(config, arg)
