"""InsightFace's MobileFaceNet y1, distilled to 4-bit weights.

  python -m faceqat.main --config=configs/mobilefacenet_y1_w4a8.py \
    --workdir=runs/y1_w4a8 --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

As `mobilefacenet_y1_int8`, with learned steps (LSQ). As in that paper, the
first and the last layer keep 8 bits; so do the slopes of the PReLUs.

Nine minutes on 2 shared CPU cores. LFW in integers 99.23 %, float 99.38
(one run, seed 0, AVX512-VNNI; spread not measured).
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_int8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_int8.get_config()
  config.quant.default.update(weight_bits=4, learned_steps=True)
  config.quant.overrides = {
    'stem': {'weight_bits': 8},
    'embedding': {'weight_bits': 8, 'symmetric': True},
    '*_prelu': {'weight_bits': 8},
  }
  config.optimizer.learning_rate = 5e-4
  config.total_steps = 300
  return compose(config, arg)
