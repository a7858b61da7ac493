"""MediaPipe's ImageEmbedder, in apps for Android, iOS and the web."""

import numpy as np

from faceqat.export import extras, tflite
from faceqat.export.exported import to_integers
from faceqat.export.targets import litert
from faceqat.export.targets.target import Target
from faceqat.integer import operators as ops

_FILE = 'model.tflite'


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
      f'MediaPipe is not installed: {extras.how_to_install("mediapipe")}'
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
    reals = np.stack(list(embed(images)))
    return to_integers(reals, embedding.scale, embedding.zero_point)

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
