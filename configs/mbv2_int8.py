"""MobileNetV2, int8 quantization-aware training, ArcFace. The main experiment.

  python -m faceqat.main --config=configs/mbv2_int8.py --workdir=runs/mbv2_int8

On faces that faceqat draws: 6 to 8 minutes on 2 CPU cores, 89.5 % of 600 pairs
of new people in integers, 89.7 % in float. On LFW after an hour on real faces:
82.0 % in integers; docs/results.md has that command. The form `:smoke` runs all
of its parts in a few steps, for tests.
"""

from ml_collections import ConfigDict

from configs import common, losses, models
from configs.compose import compose


def get_config(arg: str = '') -> ConfigDict:
  """Makes the config; `arg` is as `compose` takes it."""
  config = ConfigDict(
    {
      'seed': 0,
      # Weights of another project to start from (MXNet's .params, PyTorch's
      # .pth, .pt or .ckpt; for MobileFaceNet), or ''.
      'pretrained': '',
      'model': models.mobilenet_v2(),
      'quant': common.int8(),
      'loss': losses.arcface(),
      'regularization': common.no_regularization(),
      'optimizer': common.optimizer(),
      'data': common.data(),
      'eval': common.evaluation(),
      'batch_size': 64,
      # Parts of a batch that are computed one after another, to save memory.
      'micro_batches': 1,
      # Faster to compile, slower to run, on a CPU.
      'quick_compilation': False,
      # Parts of the training; {}: it is one.
      'stages': {},
      'total_steps': 600,
      'log_steps': 10,
      'eval_steps': 150,
      'checkpoint_steps': 150,
    }
  )
  return compose(config, arg)
