"""MobileFaceNet, int8 quantization-aware training, ArcFace.

  python -m faceqat.main --config=configs/mobilefacenet_int8.py \
    --workdir=runs/mobilefacenet_int8

The recipe and the data are those of `mbv2_int8`. A step takes about six times
as long. No score is measured yet.
"""

from ml_collections import ConfigDict

from configs import models
from configs.base import make_base
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = make_base()
  config.model = models.mobilefacenet()
  return compose(config, arg)
