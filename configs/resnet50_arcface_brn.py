"""ResNet50 of the TF2 ArcFace project, batch renorm, int8 QAT, ArcFace.

  python -m faceqat.main --config=configs/resnet50_arcface_brn.py \
    --workdir=runs/resnet50_arcface_brn --config.data.path=FACES

After dmonterom/face_recognition_TF2:

* SGD
* a large batch in parts, each with its own statistics, which batch renorm holds
  together
* a penalty in the loss that shrinks as the loss does

Batch renorm folds, so the network has an integer form. Use a GPU; no score is
measured yet.
"""

from ml_collections import ConfigDict

from configs import common, models
from configs.base import make_base
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = make_base()
  config.model = models.resnet50()
  config.model.norm = common.batch_renorm()
  config.regularization.update(weight=5e-4, decay=0.98)
  # The penalty is in the loss.
  config.optimizer.update(
    name='sgd', learning_rate=0.05, weight_decay=0.0, schedule='step'
  )
  config.micro_batches = 4
  return compose(config, arg)
