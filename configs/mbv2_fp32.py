"""MobileNetV2 in float: the baseline of `mbv2_int8`, with the same budget.

  python -m faceqat.main --config=configs/mbv2_fp32.py --workdir=runs/mbv2_fp32

Activation ranges are observed after training, on training images. The table
shows the cost of quantization for a network that was not trained for it.

LFW after an hour on real faces, with an earlier recipe: 82.2 % in float, 82.4 %
in integers (one run, seed 0, AVX512-VNNI; spread not measured). docs/results.md
has the command.
"""

from ml_collections import ConfigDict

from configs import mbv2_int8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mbv2_int8.get_config()
  config.quant.enabled = False
  return compose(config, arg)
