"""InsightFace's MobileFaceNet y1, distilled to int8 from its own float form.

  python -m faceqat.main --config=configs/mobilefacenet_y1_int8.py \
    --workdir=runs/y1_int8 --config.pretrained=Y1/model-0000.params \
    --config.data.path=FACES --config.eval.path=LFW/images \
    --config.eval.pairs=LFW/pairs.txt

The weights are calibrated (channels equalised, least-error ranges), then
trained with the quantizers on to reproduce the embeddings of the float network
for the same images. No labels are used; without data.path the faces are drawn.

Seven minutes on 2 shared CPU cores. LFW in integers 99.40 %, float 99.38
(one run, seed 0, AVX512-VNNI; spread not measured).
"""

from ml_collections import ConfigDict

from configs import common, losses, models
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  """Makes the config; `arg` is as `compose` takes it."""
  config = ConfigDict(
    {
      'seed': 0,
      # The teacher, and where the training starts: model-0000.params with
      # model-symbol.json beside it, a file of PyTorch, or a run.
      'pretrained': '',
      'pretrained_pixels': common.pretrained_pixels(),
      'model': models.mobilefacenet(),
      'quant': common.int8(),
      'loss': losses.distillation(),
      'regularization': common.no_regularization(),
      'optimizer': common.optimizer(),
      'data': common.data(),
      'eval': common.evaluation(),
      'batch_size': 32,
      'micro_batches': 1,
      # Faster to compile, slower to run, on a CPU.
      'quick_compilation': False,
      'stages': {},
      'total_steps': 200,
      'log_steps': 20,
      'eval_steps': 500,
      'checkpoint_steps': 100,
    }
  )
  config.quant.update(
    start_step=0, freeze_bn_step=0, equalize=True, correct_biases=True
  )
  config.quant.default.observer = 'mse'
  # The weights are good already: small steps, and none towards zero.
  config.optimizer.update(learning_rate=1e-4, weight_decay=0.0)
  return compose(config, arg)
