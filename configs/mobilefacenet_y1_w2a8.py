"""InsightFace's MobileFaceNet y1 in 400 KB: distilled to 2-bit weights.

  python -m faceqat.main --config=configs/mobilefacenet_y1_w2a8.py \
    --workdir=runs/y1_w2a8 --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

As `mobilefacenet_y1_w3a8`, with 2 bits for half of the weights. The layers
whose rounding costs the embedding most (`faceqat.assign_bits` prints it), and
those of few weights, keep 3 to 8.

24 minutes on 2 CPU cores, with the evaluation. LFW in integers 99.00 %, float
y1 99.38 (one run, seed 0, AVX512-VNNI; spread not measured).
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_w3a8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_w3a8.get_config()
  config.quant.default.weight_bits = 2
  config.quant.overrides = {
    'stem': {'weight_bits': 8},
    'stem_depthwise': {'weight_bits': 6},
    '*/depthwise': {'weight_bits': 4},
    **{
      f'block_{blocks}/{layer}': {'weight_bits': bits}
      for blocks, bits in (('[05]', 4), ('[1-4]', 3), ('12', 3))
      for layer in ('expand', 'project')
    },
    'block_6/project': {'weight_bits': 3},
    'last': {'weight_bits': 3},
    'global_depthwise': {'weight_bits': 6},
    'embedding': {'weight_bits': 4, 'symmetric': True},
    '*_prelu': {'weight_bits': 8},
  }
  return compose(config, arg)
