"""MobileNetV2, int8 quantization-aware training, ArcFace. The main experiment.

  python -m faceqat.main --config=configs/mbv2_int8.py --workdir=runs/mbv2_int8

On faces that faceqat draws: 6 to 8 minutes on 2 CPU cores, 89.5 % of 600 pairs
of new people in integers, 89.7 % in float. On LFW after an hour on real faces:
82.0 % in integers; docs/results.md has that command. The form `:smoke` runs all
of its parts in a few steps, for tests.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """Makes the config; `arg` is '' or 'smoke'."""
  if arg not in ('', 'smoke'):
    raise ValueError(f'the config has no form :{arg}; there is :smoke')
  config = ConfigDict(
    {
      'seed': 0,
      # Weights of another project to start from (MXNet's .params, PyTorch's
      # .pth, .pt or .ckpt; for MobileFaceNet), or ''.
      'pretrained': '',
      'model': {
        'name': 'mobilenet_v2',
        'embedding_size': 128,
        'width': 0.5,
        'bn_momentum': 0.9,
        'dtype': 'float32',
      },
      'quant': common.int8(),
      'loss': common.arcface(),
      'optimizer': common.optimizer(),
      'data': common.data(),
      'eval': common.evaluation(),
      'batch_size': 64,
      'total_steps': 600,
      'log_steps': 10,
      'eval_steps': 150,
      'checkpoint_steps': 150,
    }
  )
  if arg == 'smoke':
    common.make_smoke(config)
  return config
