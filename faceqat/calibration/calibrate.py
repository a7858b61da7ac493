"""Prepares a float network for its first quantized step.

It observes the ranges of activations on images. Where the config asks for it,
it equalises channels, sets the first learned steps, learns the rounding of
weights and corrects biases.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from faceqat.calibration.bias_correction import correct_biases
from faceqat.calibration.equalization import equalize
from faceqat.calibration.lower import lower
from faceqat.calibration.reconstruction import reconstruct
from faceqat.models.network import Network
from faceqat.progress import doing, track
from faceqat.quant.spec import CALIBRATE, INITIALIZE_STEPS


def calibrate(
  network: Network, batches: Sequence[np.ndarray]
) -> dict[str, Any]:
  """Makes a float network ready for its quantized modes.

  Args:
    network: its config's block `quant` says whether to `equalize`, for how
      many steps to reconstruct, and whether to `correct_biases`.
    batches: uint8 [B, H, W, 3], all of one shape; one at least.

  Returns:
    The new variables.
  """
  model, quant = network.model, network.config.quant

  def ready(variables):
    observed = observe(model, variables, batches)
    return network._replace(variables=set_steps(model, observed, batches[0]))

  with doing('calibrating'):
    network = ready(network.variables)
  if quant.equalize:
    with doing('equalising channels'):
      equal = equalize(model, network.variables, lower(network), batches)
      # On the same devices, or what has been compiled would not do.
      equal = jax.tree.map(
        lambda new, old: jax.device_put(new, old.sharding),
        equal,
        network.variables,
      )
    # The first ranges were for the program alone; the channels now have others.
    network = ready(equal)
  floats = network.variables
  if quant.reconstruction_steps:
    steps = quant.reconstruction_steps
    network = network._replace(
      variables=reconstruct(network, batches, steps=steps)
    )
  if not quant.correct_biases:
    return network.variables
  with doing('correcting biases'):
    return correct_biases(
      model, network.variables, lower(network), batches, floats
    )


def observe(
  model: nn.Module, variables: dict[str, Any], batches: Sequence[np.ndarray]
) -> dict[str, Any]:
  """Sets the ranges of all activations anew, from the float network.

  Args:
    model: whose layers say how each is observed.
    variables: of the model; its earlier ranges are forgotten.
    batches: uint8 [B, H, W, 3].
  """
  empty = jax.tree.map(jnp.zeros_like, variables['quant_stats'])
  variables = {**variables, 'quant_stats': empty}
  shown = track(batches, 'calibrating', len(batches), images=len(batches[0]))
  for images in shown:
    variables = _update(
      variables, images, model=model, mode=CALIBRATE, collection='quant_stats'
    )
  return variables


def set_steps(
  model: nn.Module, variables: dict[str, Any], images: np.ndarray
) -> dict[str, Any]:
  """Gives learned steps their first values, where the model has any.

  Args:
    model: whose layers say how.
    variables: of the model, ranges set.
    images: uint8 [B, H, W, 3], for their shape alone.
  """
  layers = model.quant.default, *(layer for _, layer in model.quant.overrides)
  if not any(layer.learned_steps for layer in layers):
    return variables
  return _update(
    variables, images, model=model, mode=INITIALIZE_STEPS, collection='params'
  )


@functools.partial(jax.jit, static_argnames=('model', 'mode', 'collection'))
def _update(variables, images, *, model, mode, collection):
  _, updated = model.apply(variables, images, mode, mutable=[collection])
  return {**variables, **updated}


def has_ranges(quant_stats: Any) -> bool:
  """Whether every activation range has been observed at least once."""
  counts = [
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(quant_stats)
    if jax.tree_util.keystr(path).endswith('.count')
  ]
  return bool(counts) and all(int(count) > 0 for count in counts)
