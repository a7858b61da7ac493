"""MobileNetV2, int8 quantization-aware training, ArcFace. The main experiment.

  python -m faceqat.main --config=configs/mbv2_int8.py --workdir=runs/mbv2_int8

On faces that faceqat draws: 6 to 8 minutes on 2 CPU cores, 89.5 % of 600 pairs
of new people in integers, 89.7 % in float. On LFW after an hour on real faces:
82.0 % in integers; docs/results.md has that command. The form `:smoke` runs all
of its parts in a few steps, for tests.
"""

from ml_collections import ConfigDict

from configs.base import make_base
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  """Makes the config; `arg` is as `compose` takes it."""
  config = make_base()
  config.optimizer.learning_rate = 0.01
  config.total_steps = 500
  config.quant.update(start_step=300, freeze_bn_step=450)
  return compose(config, arg)
