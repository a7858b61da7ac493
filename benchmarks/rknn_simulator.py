"""Builds a file of the target rknn, and runs it in RKNN-Toolkit2's simulator.

  python benchmarks/rknn_simulator.py export/rknn/model_qdq.onnx lfw/images

RKNN-Toolkit2 wants older packages than faceqat, so this file imports nothing of
ours. Call it in an environment of its own:

  python -m pip install rknn-toolkit2==2.5.0

It prints the cosine of each embedding to ONNX Runtime's of the same file, and
writes model.rknn beside it.
"""

import argparse
import pathlib

import cv2
import numpy as np
import onnxruntime
from rknn.api import RKNN


def read_images(folder: pathlib.Path, count: int, size: tuple[int, int]):
  """Some images of a folder and those below, float32 [N, 3, H, W]."""
  paths = [path for path in sorted(folder.rglob('*')) if path.is_file()]
  images = [cv2.imread(str(path)) for path in paths[:: len(paths) // count]]
  pixels = [
    cv2.cvtColor(cv2.resize(image, size[::-1]), cv2.COLOR_BGR2RGB)
    for image in images[:count]
  ]
  return (np.float32(pixels).transpose(0, 3, 1, 2) - 128) / 128


def build(model: pathlib.Path, platform: str) -> RKNN:
  """The toolkit with a model that runs in its simulator.

  Raises:
    SystemExit: the toolkit refuses it.
  """
  toolkit = RKNN(verbose=False)
  steps = {
    'config': lambda: toolkit.config(target_platform=platform),
    'load_onnx': lambda: toolkit.load_onnx(model=str(model)),
    # The integers are in the file.
    'build': lambda: toolkit.build(do_quantization=False),
    'export_rknn': lambda: toolkit.export_rknn(
      str(model.with_name('model.rknn'))
    ),
    'init_runtime': toolkit.init_runtime,
  }
  for name, step in steps.items():
    if step():
      raise SystemExit(f'error: {name} failed for {model} and {platform}')
  return toolkit


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('model', type=pathlib.Path)
  parser.add_argument('images', type=pathlib.Path)
  parser.add_argument('--platform', default='rk3588')
  parser.add_argument('--num_images', type=int, default=20)
  args = parser.parse_args()
  session = onnxruntime.InferenceSession(str(args.model))
  (image,) = session.get_inputs()
  images = read_images(args.images, args.num_images, tuple(image.shape[2:]))
  toolkit = build(args.model, args.platform)
  cosines = []
  for pixels in images:
    (got,) = toolkit.inference(inputs=[pixels[None]], data_format=['nchw'])
    (wanted,) = session.run(None, {image.name: pixels[None]})
    got, wanted = got.ravel(), wanted.ravel()
    norms = np.linalg.norm(got) * np.linalg.norm(wanted)
    cosines.append(float(got @ wanted / norms))
  print(
    f'{args.platform}, {len(cosines)} images: cosine to ONNX Runtime '
    f'{np.mean(cosines):.4f}, at least {min(cosines):.4f}'
  )


if __name__ == '__main__':
  main()
