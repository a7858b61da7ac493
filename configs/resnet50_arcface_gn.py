"""ResNet50 of the TF2 ArcFace project with group norm: float alone.

  python -m faceqat.main --config=configs/resnet50_arcface_gn.py \
    --workdir=runs/resnet50_arcface_gn --config.data.path=FACES

As `resnet50_arcface_brn`. Group norm takes the statistics of each image, at
inference too. So it cannot be folded, the network has no integer form, and the
table of its evaluation has one row.
"""

from ml_collections import ConfigDict

from configs import common, resnet50_arcface_brn
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = resnet50_arcface_brn.get_config()
  config.model.norm = common.group_norm()
  config.quant.enabled = False
  return compose(config, arg)
