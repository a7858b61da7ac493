"""SFace (Zhong et al. 2021) to int8 without training: calibration alone.

  python -m faceqat.main --config=configs/sface_int8.py --workdir=runs/sface \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

The weights come with faceqat's requirements, from OpenCV's model zoo (Apache
2.0). FACES are aligned faces of the camera that will be used. To train on, set
--config.total_steps and a loss: with configs/sface_int8.py:loss=arcface for
labelled faces; as it stands the float network is the teacher of its integers.
The smoke form takes two minutes: it is the whole network.
"""

from ml_collections import ConfigDict

from configs import mobilefacenet_y1_ptq, models
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  """Makes the config; `arg` is as `compose` takes it."""
  config = mobilefacenet_y1_ptq.get_config()
  config.model = models.mobilenet_v1()
  config.pretrained = 'sface'
  # The weights are of the whole network, for images of 112: it runs for longer
  # than it compiles, also as a smoke form.
  compose(config, arg, smoke_image_size=112, smoke_depth=1.0)
  config.quick_compilation = False
  return config
