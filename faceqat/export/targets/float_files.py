"""The files of targets that quantize a float network by themselves."""

import json

import numpy as np

from faceqat.calibration.lower import real_weights
from faceqat.export import onnx_float, onnx_graph

ONNX, RANGES = 'model.onnx', 'ranges.json'


def write(program, network) -> dict[str, bytes]:
  """The float ONNX file and the table of ranges beside it.

  Raises:
    ValueError: the network is not known.
  """
  if network is None:
    raise ValueError(
      'it is written from the network in float, and a program has integers '
      'alone; give the run or the packaged network'
    )
  model = onnx_float.to_model(program, real_weights(network))
  ranges = json.dumps(onnx_float.ranges(program), indent=2)
  return {ONNX: onnx_graph.to_bytes(model), RANGES: f'{ranges}\n'.encode()}


def pixels(images: np.ndarray) -> np.ndarray:
  """uint8 images [B, H, W, 3] as the file takes them, float32 [B, 3, H, W]."""
  return ((np.float32(images) - 128) / 128).transpose(0, 3, 1, 2)
