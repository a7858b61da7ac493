"""MobileNetV2 in float: the baseline of `mbv2_int8`, with the same budget.

  python -m faceqat.main --config=configs/mbv2_fp32.py --workdir=runs/mbv2_fp32

Its activation ranges are observed after training, on training images, so that
the table shows what quantization costs a network that was not trained for it.
"""

from ml_collections import ConfigDict

from configs import mbv2_int8


def get_config(arg: str = '') -> ConfigDict:
  """Makes the config; `arg` is '' or 'smoke'."""
  config = mbv2_int8.get_config(arg)
  config.quant.enabled = False
  return config
