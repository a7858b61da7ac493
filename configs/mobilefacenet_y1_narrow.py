"""InsightFace's MobileFaceNet y1 cut to 380 thousand parameters, in float.

  python -m faceqat.main --config=configs/mobilefacenet_y1_narrow.py \
    --workdir=runs/y1_narrow --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

Three eighths of the channels inside of each block are left, those that carry
most; then the network learns the embeddings and block outputs of the whole
one. No labels are used. `mobilefacenet_y1_narrow_w3a8` makes integers of it.
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_int8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_int8.get_config()
  config.model.inner_width = 0.375
  config.loss.features = 1.0
  config.quant.enabled = False
  config.optimizer.update(learning_rate=2e-3, warmup_steps=50)
  config.total_steps = 1600
  return compose(config, arg)
