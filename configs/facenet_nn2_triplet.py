"""FaceNet's NN2, int8 QAT, triplets mined in batches of P people x K images.

  python -m faceqat.main --config=configs/facenet_nn2_triplet.py \
    --workdir=runs/facenet_nn2_triplet --config.data.path=FACES

Schroff et al. 2015: the Inception network with L2 pooling, semi-hard negatives.
There is no classifier, so nothing grows with the number of people.

LFW after 1,000 steps on real faces: 78.5 % in integers, 78.8 in float
(docs/results.md; one run, seed 0, AVX512-VNNI; spread not measured).
"""

from ml_collections import ConfigDict

from configs import losses, models
from configs.base import make_base
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = make_base()
  config.model = models.facenet_nn2()
  config.loss = losses.triplet()
  config.loss.update(mining='semi_hard', squared=True)
  config.data.people_per_batch = 16
  config.optimizer.learning_rate = 1e-3
  return compose(config, arg)
