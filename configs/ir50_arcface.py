"""IR-50 (ArcFace's improved residual network) in float, ArcFace.

  python -m faceqat.main --config=configs/ir50_arcface.py \
    --workdir=runs/ir50_arcface --config.data.path=FACES

Other sizes: --config.model.depth=18, 34 or 100, and IR-SE with
--config.model.squeeze_excite=True. --config.pretrained takes the weights of
face.evoLVe, AdaFace and others, and with --config.model.shortcut=projection
those of insightface and MagFace; the README has the pixel format of each.

The integers come from calibration alone. Use a GPU; no score is measured yet.
"""

from ml_collections import ConfigDict

from configs import ir50_arcface_int8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = ir50_arcface_int8.get_config()
  config.quant.enabled = False
  return compose(config, arg)
