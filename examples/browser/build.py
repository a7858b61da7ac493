"""Puts a page together: its own files, two networks, a runtime, samples."""

import dataclasses
import io
import json
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from examples.browser import detector
from faceqat.calibration import packaged_files, packaged_program
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.evaluators import rate_table
from faceqat.export import onnx_graph, onnx_integer
from faceqat.faces import alignment, fingerprint, quality
from faceqat.files import atomic, folders
from faceqat.identification import embedders
from faceqat.identification.embedders import Embedder
from faceqat.integer import program as integer_program
from faceqat.integer.program import IntegerProgram

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER / 'page'
RUNTIME = FOLDER / 'node_modules' / 'onnxruntime-web'
# Of onnxruntime-web, for processors alone; and where the page has them.
RUNTIME_FILES = ('ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm')
RUNTIME_OUT = 'onnxruntime'

# Drawn people whom SFace tells apart: to a network for photographs most drawn
# faces look alike. By name: number of the person, of the image, and blurred.
_SEED, _SIDE, _BLUR = 1789, 320, 9
_DRAWN = {
  'one': (13, 0, False),
  'again': (13, 1, False),
  'other': (10, 0, False),
  'blurred': (10, 1, True),
}
_SAMPLES = {
  'One drawn person twice': ('one', 'again'),
  'Two drawn people': ('one', 'other'),
  'One of them blurred': ('one', 'blurred'),
}
_NOTE = (
  'This network was trained on drawn faces. It knows nothing of photographs, '
  'and gives high scores to anybody.'
)


def build(
  model: str, runtime: str | os.PathLike, out: str | os.PathLike
) -> int:
  """Writes the page.

  Args:
    model: a packaged network, the folder of a run, or a program.
    runtime: folder of the package onnxruntime-web.
    out: folder, made if there is none; files of the same names are replaced.

  Returns:
    How many bytes the page has.

  Raises:
    ValueError: there is no such network or runtime, or the page cannot align
      faces for this network.
  """
  folders.check_out(out)
  contents = _runtime(pathlib.Path(runtime))
  embedder, program = _load(model)
  network = onnx_graph.to_bytes(onnx_integer.to_model(program))
  name = model if model in packaged_files.NAMES else pathlib.Path(model).name
  settings = json.dumps(_settings(name, embedder)).encode()
  contents |= {path.name: path.read_bytes() for path in PAGE.iterdir()}
  contents |= {
    'settings.json': settings,
    'detector.onnx': detector.to_bytes(),
    'network.onnx': network,
    **{_sample_path(name): draw(name) for name in _DRAWN},
  }
  out = folders.make(out)
  for name, content in contents.items():
    folders.make((out / name).parent)
    atomic.write(out / name, content)
  return sum(map(len, contents.values()))


def _runtime(folder: pathlib.Path) -> dict[str, bytes]:
  try:
    return {
      f'{RUNTIME_OUT}/{name}': (folder / 'dist' / name).read_bytes()
      for name in RUNTIME_FILES
    }
  except OSError as error:
    raise ValueError(
      f'--runtime={folder}: {error.filename} cannot be read '
      f'({error.strerror}); install it with npm ci --ignore-scripts '
      f'--prefix {FOLDER}'
    ) from error


def _load(model: str) -> tuple[Embedder, IntegerProgram]:
  """A network, and its program with its false-match rates."""
  source = model
  if model in packaged_files.NAMES:
    source = str(packaged_program.kept_file(model) or model)
  embedder = embedders.load(source)
  if embedder.network is None:
    if not source.endswith('.safetensors'):
      raise ValueError(
        f'--model={model}: the page is made of a program, a packaged network '
        'or the folder of a run; give one of these'
      )
    program = integer_program.load(source)
  else:
    from faceqat.calibration.lower import lower

    program = lower(embedder.network)
  if embedder.table is not None:
    program = rate_table.with_table(program, embedder.table)
  return embedder, program


def _settings(name: str, embedder: Embedder) -> dict[str, Any]:
  """What the page knows of the network, and of faceqat's ways."""
  template = embedder.template
  if template not in alignment.TEMPLATES or embedder.stored_size:
    raise ValueError(
      f'--model={name}: its faces are aligned as {template!r}, or resized '
      f'afterwards; the page aligns to {" and ".join(alignment.TEMPLATES)}, in '
      'the size of the network: give one that was trained so'
    )
  size = embedder.image_size
  is_for_drawn = (
    embedder.fingerprint is not None
    and embedder.fingerprint.template == fingerprint.DRAWN
  )
  return {
    'name': name,
    'note': _NOTE if is_for_drawn else '',
    'is_for_drawn': is_for_drawn,
    'alignment': template,
    'size': size,
    'channels': 'BGR' if embedder.is_bgr else 'RGB',
    'template': alignment.template_points(template, size).tolist(),
    'arcface': alignment.ARCFACE_TEMPLATE.tolist(),
    'frontal': quality.FRONTAL.tolist(),
    'bars': dataclasses.asdict(quality.Bars()),
    'samples': [
      {'label': label, 'images': [_sample_path(name) for name in names]}
      for label, names in _SAMPLES.items()
    ],
  }


def _sample_path(name: str) -> str:
  return f'samples/{name}.png'


def draw(name: str) -> bytes:
  """A sample, as PNG: every browser reads the same pixels."""
  person, number, is_blurred = _DRAWN[name]
  people = SyntheticFaces(2, 2, _SIDE, _SEED, first_person=person)
  image = Image.fromarray(np.array(people[number]['image']))
  if is_blurred:
    image = image.filter(ImageFilter.GaussianBlur(_BLUR))
  content = io.BytesIO()
  image.save(content, 'PNG', optimize=True)
  return content.getvalue()
