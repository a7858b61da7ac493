"""InsightFace's MobileFaceNet y1, distilled to weights of 4 and of 8 bits.

  python -m faceqat.main --config=configs/mobilefacenet_y1_mixed.py \
    --workdir=runs/y1_mixed --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

As `mobilefacenet_y1_w4a8`, but the layers with 4 bits were chosen on a run of
`mobilefacenet_y1_ptq` by an earlier form of

  python -m faceqat.assign_bits --model=runs/y1_ptq --bits=4 \
    --budget=621000 --num_images=64

The program file has some 0.62 MB.

Thirteen minutes on 2 shared CPU cores. LFW in integers 99.35 %, float 99.38
(one run, seed 0, AVX512-VNNI; spread not measured).
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_int8
from configs.compose import compose

# The embedding, below, is another.
FOUR_BITS = (
  'block_[346789]/expand',
  'block_1[01234]/expand',
  'block_[12]/expand',
  'last',
  'block_[26789]/project',
  'block_1[01234]/project',
  'block_12/depthwise',
)


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_int8.get_config()
  config.quant.default.learned_steps = True
  config.quant.overrides = {
    **{pattern: {'weight_bits': 4} for pattern in FOUR_BITS},
    'embedding': {'weight_bits': 4, 'symmetric': True},
  }
  config.optimizer.learning_rate = 5e-4
  config.total_steps = 300
  return compose(config, arg)
