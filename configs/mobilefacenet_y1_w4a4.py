"""InsightFace's MobileFaceNet y1, distilled to 4 bits: weights and activations.

  python -m faceqat.main --config=configs/mobilefacenet_y1_w4a4.py \
    --workdir=runs/y1_w4a4 --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

As `mobilefacenet_y1_w4a8`, and the inputs of convolutions have 4 bits too,
except for the image and the input of the last layer (as in LSQ). Outputs that
only a PReLU or an addition reads keep 8 bits: no weight multiplies them.

Nineteen minutes on 2 shared CPU cores. LFW in integers 98.62 %, float 99.38
(one run, seed 0, AVX512-VNNI; spread not measured).
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_w4a8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_w4a8.get_config()
  config.quant.default.activation_bits = 4
  wide = {'activation_bits': 8}
  config.quant.overrides = {
    'stem': {'weight_bits': 8, **wide},
    'embedding': {'weight_bits': 8, 'symmetric': True, **wide},
    '*_prelu': {'weight_bits': 8},
    'stem_depthwise': wide,
    '*/expand': wide,
    '*/depthwise': wide,
    'last': wide,
    'global_depthwise': wide,
    # Those of blocks without a stride, to which the input is added.
    'block_[12346789]/project': wide,
    'block_1[0134]/project': wide,
  }
  config.optimizer.learning_rate = 1e-3
  config.total_steps = 600
  # The patterns name layers, which all have to exist.
  return compose(config, arg, smoke_depth=1.0)
