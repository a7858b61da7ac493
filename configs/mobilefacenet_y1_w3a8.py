"""InsightFace's MobileFaceNet y1 in 500 KB: distilled to 3-bit weights.

  python -m faceqat.main --config=configs/mobilefacenet_y1_w3a8.py \
    --workdir=runs/y1_w3a8 --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

As `mobilefacenet_y1_w4a8`, and the depthwise layers, a sixteenth of the
weights, keep 4 bits.
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_w4a8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_w4a8.get_config()
  config.quant.default.weight_bits = 3
  config.quant.overrides = {
    'stem': {'weight_bits': 8},
    'embedding': {'weight_bits': 8, 'symmetric': True},
    '*_prelu': {'weight_bits': 8},
    '*depthwise': {'weight_bits': 4},
  }
  # The error of each block shows where embeddings go wrong.
  config.loss.features = 1.0
  config.optimizer.learning_rate = 1e-3
  config.total_steps = 600
  return compose(config, arg)
