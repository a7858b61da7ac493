"""InsightFace's MobileFaceNet y1 cut to 380 thousand parameters, in float.

  python -m faceqat.main --config=configs/mobilefacenet_y1_narrow.py \
    --workdir=runs/y1_narrow --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

Three eighths of the channels inside of the blocks and before the embedding are
left: those whose outputs vary most, times what the next layer makes of them
(`models/weights/pruning.py`). Then the network learns the embeddings and block
outputs of the whole one, without labels, with the batch norms as they are.
`mobilefacenet_y1_narrow_w3a8` makes integers of it.

27 minutes on 2 CPU cores, with the evaluation. Mean cosine to y1 on held-out
images 0.83 (0.01 right after the cut); LFW 97.35 %, and 97.47 with 8 bits
without training, where float y1 has 99.38 (one run, seed 0).
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_int8
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_int8.get_config()
  config.model.inner_width = 0.375
  config.loss.features = 1.0
  config.quant.enabled = False
  config.optimizer.update(learning_rate=4e-3, warmup_steps=50)
  config.total_steps = 4500
  return compose(config, arg)
