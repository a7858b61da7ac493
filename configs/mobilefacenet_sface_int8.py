"""MobileFaceNet taught by SFace on faces without labels, int8.

  python -m faceqat.main --config=configs/mobilefacenet_sface_int8.py \
    --workdir=runs/mobilefacenet_sface --config.data.path=FACES \
    --config.eval.path=LFW/images --config.eval.pairs=LFW/pairs.txt

From random weights, in float and then with the quantizers on, the network of
1.0 M parameters learns the embeddings of one ten times as large, which comes
with faceqat's requirements (OpenCV's SFace, Zhong et al. 2021; Apache 2.0).
No labels are used. FACES are aligned faces of the camera that will be used;
without data.path the faces are drawn.

An hour on one shared CPU core. LFW in integers 79.12 %, float 79.40, after
16,000 images of 326 people (one run, seed 0, AVX2; spread not measured): more
images and steps are what it lacks.
"""

from ml_collections import ConfigDict

from configs import losses, models
from configs.base import make_base
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  config = make_base()
  config.model = models.mobilefacenet()
  config.loss = losses.distillation()
  config.loss.teacher = 'sface'
  # For an hour on a CPU; with more images and time, more of both.
  config.optimizer.update(learning_rate=2e-3, warmup_steps=50)
  config.quant.update(start_step=800, freeze_bn_step=920)
  config.update(
    batch_size=16,
    total_steps=1000,
    log_steps=20,
    eval_steps=1000,
    checkpoint_steps=100,
  )
  return compose(config, arg)
