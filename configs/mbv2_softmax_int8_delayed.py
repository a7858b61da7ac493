"""MobileNetV2, softmax, quantized after some epochs of float training.

  python -m faceqat.main --config=configs/mbv2_softmax_int8_delayed.py \
    --workdir=runs/mbv2_softmax_int8_delayed

Quantization-aware training as in Krishnamoorthi 2018: the quantizers wait until
the float network has settled (quant.start_epochs passes over the images).
Otherwise the recipe of `mbv2_int8`; docs/results.md has the smoke form.
"""

from ml_collections import ConfigDict

from configs import losses, mbv2_int8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mbv2_int8.get_config()
  config.loss = losses.softmax()
  # Of the 122 steps that an epoch of the drawn faces has.
  config.quant.start_epochs = 3.0
  return compose(config, arg)
