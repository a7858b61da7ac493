"""MobileNetV2, int8 quantization-aware training, ArcFace. The main experiment.

  python -m faceqat.main --config=configs/mbv2_int8.py --workdir=runs/mbv2_int8

Drawn faces: 95.4 % of 6,000 pairs of new people in integers, 95.7 % in float
(seed 0, 2 cores of an AMD EPYC; docs/results.md has the spread over seeds).
LFW after an hour on real faces, with an earlier recipe: 82.0 % in integers;
docs/results.md has the command.

The form `:smoke` runs all parts in a few steps, for tests.
"""

from ml_collections import ConfigDict

from configs.base import make_base
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = make_base()
  config.optimizer.learning_rate = 0.01
  config.total_steps = 500
  config.quant.update(start_step=400, freeze_bn_step=400)
  config.eval_steps = 250
  return compose(config, arg)
