"""The values that experiments start from; not an experiment itself."""

from ml_collections import ConfigDict

from configs import common, losses, models


def make_base() -> ConfigDict:
  """600 steps, the second half quantized."""
  return ConfigDict(
    {
      # Of the first weights, the order of images and their augmentation.
      'seed': 0,
      # Weights to start from: a file of another project, a run, or ''.
      'pretrained': '',
      'pretrained_pixels': common.pretrained_pixels(),
      'model': models.mobilenet_v2(),
      'quant': common.int8(),
      'loss': losses.arcface(),
      'regularization': common.no_regularization(),
      'optimizer': common.optimizer(),
      'data': common.data(),
      'eval': common.evaluation(),
      # Images in a step, on all devices together.
      'batch_size': 64,
      # Parts of a batch that are computed one after another, to save memory.
      'micro_batches': 1,
      # On a CPU: faster to compile, slower to run.
      'quick_compilation': False,
      # Of the training, with their own learning rates; {}: it is one.
      'stages': {},
      # 0: calibrate a pretrained network, and do not train it.
      'total_steps': 600,
      # Between two lines of losses,
      'log_steps': 10,
      # two validations,
      'eval_steps': 150,
      # and two checkpoints.
      'checkpoint_steps': 150,
    }
  )
