"""Inception-ResNet-v1, softmax and center loss, first in float, then int8.

  python -m faceqat.main --config=configs/inception_resnet_v1_center.py \
    --workdir=runs/inception_resnet_v1_center --config.data.path=FACES \
    --config.data.stored_size=112

The network and the loss of davidsandberg/facenet. Each stage has its own steps
and learning rate (--config.stages.stage_2.steps=100) and starts its optimiser
anew. The second stage switches the quantizers on.

A stage with train_backbone=False trains the classifier alone. Put one first
when a pretrained backbone (--config.pretrained=20180402-114759-vggface2.pt, of
facenet-pytorch) meets new people.

LFW after 520 steps at 112x112: 72.4 % in integers, 72.7 in float (one run, seed
0, AVX512-VNNI; spread not measured).
"""

from ml_collections import ConfigDict

from configs import losses, models
from configs.base import make_base
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = make_base()
  config.model = models.inception_resnet_v1()
  config.loss = losses.center()
  config.data.image_size = 160
  config.batch_size = 32
  config.stages = {
    'stage_1': {'steps': 400, 'learning_rate': 1e-3, 'train_backbone': True},
    'stage_2': {'steps': 100, 'learning_rate': 2e-4, 'train_backbone': True},
  }
  # They follow the stages, wherever those are changed.
  first = config.stages.stage_1.get_ref('steps')
  second = config.stages.stage_2.get_ref('steps')
  config.total_steps = first + second
  config.quant.start_step = first
  config.quant.freeze_bn_step = first + second // 2
  return compose(config, arg, smoke_image_size=80, smoke_depth=0.1)
