"""InsightFace's MobileFaceNet y1, distilled to 4 bits: weights and activations.

  python -m faceqat.main --config=configs/mobilefacenet_y1_w4a4.py \
    --workdir=runs/y1_w4a4 --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

As `mobilefacenet_y1_w4a8`, and what a convolution reads has 4 bits too, but for
the image and what the last layer reads (as in LSQ). Outputs that only a PReLU
or an addition reads keep 8 bits: no weight multiplies them.

Nineteen minutes on 2 shared CPU cores. LFW in integers 98.62 %, float 99.38
(one run, seed 0, AVX512-VNNI; its spread was not measured).
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
    # All but those of the blocks with a stride, after which nothing is added.
    'block_[12346789]/project': wide,
    'block_1[0134]/project': wide,
  }
  config.optimizer.learning_rate = 1e-3
  config.total_steps = 600
  # Its layers are named, so all of them have to be there.
  return compose(config, arg, smoke_depth=1.0)
