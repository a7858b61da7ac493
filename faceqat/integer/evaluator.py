"""The integer evaluator: a program as a jit-compiled function.

Under the contract `tflite_ref` it computes in int8 and int32 only, from camera
bytes to the embedding, and gives the bits of the TFLite reference kernels.
Under `xnnpack` it gives the bits of LiteRT's default, which rescales in
float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from faceqat.integer import kernels, xnnpack
from faceqat.integer.program import IntegerProgram, check_accumulators

_COMPUTE = {'tflite_ref': kernels.compute, 'xnnpack': xnnpack.compute}


def make_evaluator(
  program: IntegerProgram, *, taps: bool = False
) -> Callable[[jax.Array], jax.Array | dict[str, jax.Array]]:
  """Builds the function that a program describes.

  Args:
    program: what to run.
    taps: return every activation, not the embedding alone.

  Returns:
    A jit-compiled function from uint8 images [B, H, W, 3], RGB, to the int8
    embedding [B, D]; with taps, to a dict from tensor name to int8
    [B, *shape], the image included.

  Raises:
    ValueError: an int32 of the program could overflow, or its contract does
      not cover an operator. The function raises it for images of another
      shape or type.
  """
  check_accumulators(program)
  compute = _COMPUTE[program.contract]
  if program.contract == 'xnnpack':
    xnnpack.check_program(program)
  image = program.tensors[program.input]

  @jax.jit
  def evaluate(images):
    if images.dtype != jnp.uint8 or images.shape[1:] != image.shape:
      wanted = ', '.join(map(str, image.shape))
      raise ValueError(
        f'The program takes uint8 images [B, {wanted}]; it got '
        f'{images.dtype}{list(images.shape)}'
      )
    # pixel - 128 as int8 is the pixel's byte with its highest bit flipped.
    pixels = lax.bitcast_convert_type(images ^ np.uint8(128), jnp.int8)
    values = {program.input: pixels}
    for operator in program.operators:
      values[operator.output] = compute(
        operator,
        [values[name] for name in operator.inputs],
        program.inputs_of(operator),
        program.tensors[operator.output],
      )
    return values if taps else values[program.output]

  return evaluate
