"""MediaPipe's ImageEmbedder, in apps for Android, iOS and the web."""

import numpy as np

from faceqat.export import tflite
from faceqat.export.targets import litert
from faceqat.export.targets.target import Target
from faceqat.integer import operators as ops

_FILE = 'model.tflite'
# Of a step: it hands on (q - zero_point) * scale, rounded to float32.
_ROUNDING = 1e-3


def _write(program, network):
  for operator in program.operators:
    if isinstance(operator, ops.Requantize):
      operator.fail(
        'MediaPipe 1.2.3 rescales to another range by other rules than '
        'LiteRT; convert with --target=litert, or take a network that '
        'concatenates nothing'
      )
  # It takes no int8 embeddings; uint8 ones it makes real numbers of by itself.
  return {_FILE: tflite.to_bytes(program, output_type='uint8', batch=1)}


def _run(program, folder):
  try:
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision
  except ImportError as error:
    raise ImportError(
      'MediaPipe is not installed: pip install faceqat[mediapipe]'
    ) from error
  embedding = program.tensors[program.output]
  options = vision.ImageEmbedderOptions(
    BaseOptions(model_asset_buffer=(folder / _FILE).read_bytes())
  )

  def embed(images):
    # Closed each time: one that is left to the end of the interpreter fails.
    with vision.ImageEmbedder.create_from_options(options) as embedder:
      for pixels in np.ascontiguousarray(images):
        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, pixels)
        yield embedder.embed(image).embeddings[0].embedding

  def predict(images):
    steps = np.stack(list(embed(images))) / embedding.scale
    whole = np.rint(steps)
    if np.abs(steps - whole).max() > _ROUNDING:
      raise ValueError('MediaPipe gives numbers that are no integers in steps')
    return (whole + embedding.zero_point).astype(np.int8)

  return predict


TARGET = Target(
  promise="the same bits in MediaPipe's ImageEmbedder on a processor, which "
  'gives them as real numbers; the file has the standard metadata',
  write=_write,
  contracts=('xnnpack',),
  run=_run,
  # It shows no tensor but the output.
  run_taps=litert.TARGET.run_taps,
  timed=False,
)
