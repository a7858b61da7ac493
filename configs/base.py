"""What experiments have in common before each changes it; none by itself."""

from ml_collections import ConfigDict

from configs import common, losses, models


def make_base() -> ConfigDict:
  """600 steps, the second half quantized, of a network for any image size."""
  return ConfigDict(
    {
      'seed': 0,
      # Weights to start from: a file of another project, or a run; or ''.
      'pretrained': '',
      'pretrained_pixels': common.pretrained_pixels(),
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
