"""IR-50 (ArcFace's improved residual network) in float, ArcFace.

  python -m faceqat.main --config=configs/ir50_arcface.py \
    --workdir=runs/ir50_arcface --config.data.path=FACES

Smaller and larger ones: --config.model.depth=18, 34 or 100; with
--config.model.squeeze_excite=True those of IR-SE. --config.pretrained takes the
weights of face.evoLVe, AdaFace and others and, with
--config.model.shortcut=projection, those of insightface and MagFace; the README
says what each of them saw. Its integers come from calibration alone. It is a
network for a GPU; no score was measured yet.
"""

from ml_collections import ConfigDict

from configs import ir50_arcface_int8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = ir50_arcface_int8.get_config()
  config.quant.enabled = False
  return compose(config, arg)
