"""MobileFaceNet, int8 quantization-aware training, ArcFace.

  python -m faceqat.main --config=configs/mobilefacenet_int8.py \
    --workdir=runs/mobilefacenet_int8

The recipe and the data are those of `mbv2_int8`, a step takes about six times
as long; no score was measured yet.
"""

from ml_collections import ConfigDict

from configs import mbv2_int8


def get_config(arg: str = '') -> ConfigDict:
  """Makes the config; `arg` is '' or 'smoke'."""
  config = mbv2_int8.get_config(arg)
  config.model = ConfigDict(
    {
      'name': 'mobilefacenet',
      'embedding_size': 128,
      'bn_momentum': 0.9,
      'dtype': 'float32',
    }
  )
  return config
