"""Runs float ONNX files in ncnn, which pnnx converts them for."""

import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np

from faceqat.export import extras

PARAM, BIN = 'model.ncnn.param', 'model.ncnn.bin'


def convert(path: pathlib.Path) -> dict[str, bytes]:
  """ncnn's files of a float ONNX file, by their names.

  Raises:
    ImportError: pnnx is not installed.
    ValueError: it does not take the file.
  """
  pnnx = pathlib.Path(sys.executable).with_name('pnnx')
  if not pnnx.exists():
    raise ImportError(f'pnnx is not installed: {extras.how_to_install("ncnn")}')
  with tempfile.TemporaryDirectory() as folder:
    model = pathlib.Path(folder) / 'model.onnx'
    model.write_bytes(path.read_bytes())
    # The shape is in the file. Weights stay in float32.
    command = [str(pnnx), model.name, 'fp16=0']
    result = subprocess.run(
      command, cwd=folder, capture_output=True, text=True, check=False
    )
    files = [model.with_name(name) for name in (PARAM, BIN)]
    if result.returncode or not all(file.exists() for file in files):
      lines = (result.stdout + result.stderr).strip().splitlines()
      raise ValueError(f'pnnx does not take {path}: {" ".join(lines[-3:])}')
    return {file.name: file.read_bytes() for file in files}


def make_runner(
  folder: pathlib.Path,
) -> Callable[[np.ndarray], np.ndarray]:
  """Loads ncnn's files in a folder.

  Returns:
    A function from float32 [B, 3, H, W] to float32 [B, D], image by image.

  Raises:
    ImportError: ncnn is not installed.
    ValueError: it does not take the files.
  """
  try:
    import ncnn
  except ImportError as error:
    raise ImportError(
      f'ncnn is not installed: {extras.how_to_install("ncnn")}'
    ) from error
  net = ncnn.Net()
  if net.load_param(str(folder / PARAM)) or net.load_model(str(folder / BIN)):
    raise ValueError(f'ncnn does not take {folder / PARAM} and {BIN}')

  def run_one(image):
    # Its matrices do not own what they are made of.
    extractor, pixels = net.create_extractor(), np.ascontiguousarray(image)
    extractor.input('in0', ncnn.Mat(pixels))
    failed, embedding = extractor.extract('out0')
    if failed:
      raise ValueError(f'ncnn cannot run {folder / PARAM}')
    return np.array(embedding)

  return lambda images: np.stack([run_one(image) for image in images])
