"""Runs a program's first images at once, and compiles it for those that follow.

XLA takes seconds to compile a network, and JAX one to be imported. LiteRT needs
neither, but runs the reference kernels several times as slowly. Both give the
bits of the program's contract, so which of them runs shows in nothing but time.
"""

import functools

import numpy as np

from faceqat.integer.program import IntegerProgram

# LiteRT takes about as long for so many as XLA to compile a network: a little
# longer for SFace, and half as long for MobileFaceNet.
FIRST = 16


class Predict:
  """From uint8 images [B, H, W, 3] to templates, int16 [B, D].

  It gives what `evaluators.predict.make_integer_predict` gives, without a wait.
  """

  def __init__(self, program: IntegerProgram):
    self._program = program
    self._left = FIRST

  def __call__(self, images: np.ndarray) -> np.ndarray:
    self._left -= len(images)
    return self._first(images) if self._left >= 0 else self._compiled(images)

  @functools.cached_property
  def _first(self):
    from faceqat.export import litert, tflite
    from faceqat.export.exported import threads

    content = tflite.to_bytes(self._program)
    run = litert.make_runner(content, self._program.contract, threads=threads())
    zero_point = self._program.tensors[self._program.output].zero_point

    def predict(images):
      (embeddings,) = run(images).values()
      return embeddings.astype(np.int16) - np.int16(zero_point)

    return predict

  @functools.cached_property
  def _compiled(self):
    # After what the first images need, as JAX is large.
    from faceqat.evaluators.predict import make_integer_predict

    return make_integer_predict(self._program)
