"""MobileFaceNet, int8 quantization-aware training, ArcFace.

  python -m faceqat.main --config=configs/mobilefacenet_int8.py \
    --workdir=runs/mobilefacenet_int8

The recipe and the data are those of `mbv2_int8`. A step costs about seven times
as much, so on drawn faces this is an experiment for an accelerator, or for
patience.
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
