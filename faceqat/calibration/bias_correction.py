"""Bias correction: moves each channel's mean back to the float one.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.2, in the form of appendix D, which measures on images.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.integer.program import IntegerProgram
from faceqat.quant.batchnorm import FoldedBatchNorm
from faceqat.quant.spec import CONTRACT_MODES, FLOAT


def correct_biases(
  model: nn.Module,
  variables: dict[str, Any],
  program: IntegerProgram,
  batches: Sequence[np.ndarray],
  floats: dict[str, Any],
) -> dict[str, Any]:
  """Gives each channel of the quantized network the mean of the float one.

  The bias of a batch norm is corrected by the difference of the means before
  the activation, with all earlier layers quantized and corrected. These have to
  be corrected on all images first, so the images go through the network
  together, once in float and once fake-quantized: at 112 pixels they take some
  5 MB of memory each in a MobileFaceNet.

  Args:
    model: the network.
    variables: of the model; the ranges in `quant_stats` are set, and stay.
    program: recorded from them, for the rounding that its contract asks for.
      Its biases are then stale: record it anew.
    batches: uint8 [B, H, W, 3], of one H and W; one at least.
    floats: variables of the float network; `variables` themselves where no
      reconstruction has rounded their weights.

  Returns:
    New variables, in which biases of batch norms differ. The error of a layer
    without one is corrected in the layers after it.

  Raises:
    ValueError: there are no batches.
  """
  if not len(batches):
    raise ValueError(
      'bias correction got no images; give one batch of faces at least'
    )
  images = np.concatenate(batches)
  means, _ = _run(floats, images, {}, model=model, mode=FLOAT)
  mode = CONTRACT_MODES[program.contract]
  _, lacking = _run(variables, images, means, model=model, mode=mode)
  params = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  for norm, difference in lacking.items():
    params[f'{norm}/bias'] = params[f'{norm}/bias'] + difference
  return {
    **variables,
    'params': flax.traverse_util.unflatten_dict(params, sep='/'),
  }


@functools.partial(jax.jit, static_argnames=('model', 'mode'))
def _run(variables, images, expected, *, model, mode):
  """Means [C] behind every batch norm by its path, and what each lacks.

  Where an expected mean is given, the difference is added at once, so that the
  layers that follow read the corrected output.
  """
  means, lacking = {}, {}

  def correct(method, args, kwargs, context):
    y = method(*args, **kwargs)
    norm = isinstance(context.module, FoldedBatchNorm)
    if norm and context.method_name == '__call__':
      path = '/'.join(context.module.path)
      means[path] = jnp.mean(y, tuple(range(y.ndim - 1)))
      if path in expected:
        lacking[path] = expected[path] - means[path]
        y = y + lacking[path]
    return y

  with nn.intercept_methods(correct):
    model.apply(variables, images, mode)
  return means, lacking
