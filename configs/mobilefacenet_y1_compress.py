"""InsightFace's MobileFaceNet y1 to a number of bytes, without labels.

  python -m faceqat.compress --config=configs/mobilefacenet_y1_compress.py \
    --workdir=runs/y1_small --budgets=600000,500000,400000 \
    --config.pretrained=Y1/model-0000.params --config.data.path=FACES \
    --config.eval.path=LFW/images --config.eval.pairs=LFW/pairs.txt

As `mobilefacenet_y1_w4a8_ptq`, from 8 bits in every layer: `faceqat.compress`
chooses the bits. FACES may be a folder with one folder of images in it, as
nobody is held out. --config.total_steps=600 distils after the reconstruction.

13 minutes on 2 CPU cores for one budget, with two evaluations. 500,000 bytes:
LFW in integers 99.10 %, float y1 99.38 (one run, seed 0, AVX512-VNNI; spread
not measured).
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_w4a8_ptq
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = mobilefacenet_y1_w4a8_ptq.get_config()
  config.quant.default.weight_bits = 8
  config.quant.overrides = {'embedding': {'symmetric': True}}
  # With which it was measured.
  config.quant.reconstruction_steps = 100
  config.data.update(
    validation_people=0, validation_pairs=0, holdout_images_per_person=0
  )
  # The error of each block shows where embeddings go wrong.
  config.loss.features = 1.0
  config.optimizer.learning_rate = 1e-3
  return compose(config, arg)
