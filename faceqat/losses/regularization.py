"""An L2 penalty whose coefficient shrinks as the training comes along.

After dmonterom/face_recognition_TF2, "regularization loss decay": a penalty
that was right at the start outweighs a small loss later. Weight decay in the
optimiser (`optimizer.weight_decay`) does not know the loss.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

# Convolution and dense kernels, and the class weights. Batch-norm scales, PReLU
# slopes and biases stay free: pulling them to zero changes the function that a
# folded, quantized layer computes, not its capacity.
# The same holds for learned steps.
_DECAYED = ('kernel', 'weights')


def decay_mask(params: Any) -> Any:
  """Marks the parameters that weight decay applies to.

  Args:
    params: A tree of parameters; a leaf's name is the last key of its path.

  Returns:
    A tree of bool of the same structure, True at leaves named `kernel` or
    `weights`.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) in _DECAYED,
    params,
  )


class Regularization(NamedTuple):
  """weight * (the sum of all squared kernels and class weights).

  Attributes:
    weight: of the penalty at the start; 0: there is none.
    decay: the penalty's coefficient, 1 at first, is multiplied by it after each
      step whose loss was smaller than its penalty; 1: it stays.
  """

  weight: float
  decay: float

  def penalty(self, params: Any, coefficient: jax.Array) -> jax.Array:
    """The penalty of parameters, [] float32."""
    squares = jax.tree.map(
      lambda leaf, decayed: jnp.sum(jnp.square(leaf)) if decayed else 0.0,
      params,
      decay_mask(params),
    )
    return coefficient * self.weight * sum(jax.tree.leaves(squares))

  def next(
    self, coefficient: jax.Array, loss: jax.Array, penalty: jax.Array
  ) -> jax.Array:
    """The coefficient of the next step."""
    return jnp.where(loss < penalty, coefficient * self.decay, coefficient)


def make_regularization(config: ml_collections.ConfigDict) -> Regularization:
  """Reads the block `regularization`.

  Raises:
    ValueError: naming the field that is out of range.
  """
  if config.weight < 0:
    raise ValueError(
      f'regularization.weight is {config.weight}; it is 0 or more'
    )
  if not 0 < config.decay <= 1:
    raise ValueError(
      f'regularization.decay is {config.decay}; it lies in (0, 1]'
    )
  return Regularization(**config)
