"""InsightFace's MobileFaceNet y1 to 4-bit weights without training.

  python -m faceqat.main --config=configs/mobilefacenet_y1_w4a8_ptq.py \
    --workdir=runs/y1_w4a8_ptq --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

Bits are those of `mobilefacenet_y1_w4a8`; the three layers whose rounding costs
most, a thirtieth of the weights, keep 8 bits too. In place of a training, each
block learns by itself how to round its weights (reconstruction), on 256 faces
and without labels. It can go before any training with quantizers:
--config.quant.reconstruction_steps=200.

Eight minutes on 2 CPU cores, with the evaluation. LFW in integers 99.30,
99.22 and 99.25 % (seeds 0 to 2, AVX512-VNNI), float y1 99.38.
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_w4a8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_w4a8.get_config()
  for name in ('stem_depthwise', 'block_0/expand', 'global_depthwise'):
    config.quant.overrides[name] = {'weight_bits': 8}
  # Biases are learnt with the weights.
  config.quant.update(reconstruction_steps=200, correct_biases=False)
  config.total_steps = 0
  return compose(config, arg)
