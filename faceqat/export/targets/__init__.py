"""The runtimes and chips that a program is exported for.

Each is a module of this folder with a `TARGET`, and a line in `NAMES`.
docs/devices.md shows how one is added.
"""

import importlib

from faceqat.export.targets.target import Target

# Of the modules, with a hyphen for each underscore, in the order of a list.
NAMES = (
  *('litert', 'onnxruntime', 'onnxruntime-qdq', 'openvino', 'openvino-qdq'),
  *('tensorrt', 'rknn', 'tflm', 'ethos-u', 'web', 'mediapipe', 'litert-js'),
  *('ncnn', 'mnn'),
)


def find(name: str) -> Target:
  """The target of a name.

  Raises:
    ValueError: there is none.
  """
  if name not in NAMES:
    raise ValueError(
      f'--target={name}: there is no such target; choose from '
      f'{", ".join(NAMES)}, or see --target=list'
    )
  module = name.replace('-', '_')
  return importlib.import_module(f'{__name__}.{module}').TARGET
