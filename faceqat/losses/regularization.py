"""An L2 penalty whose coefficient shrinks once it outweighs the loss.

After dmonterom/face_recognition_TF2, "regularization loss decay". Weight decay
in the optimiser (`optimizer.weight_decay`) does not know the loss.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import ml_collections

from faceqat.fields import check_values, make_of_block

# Convolution and dense kernels, and the class weights. Batch-norm scales, PReLU
# slopes and biases stay free: pulling them to zero changes the function that a
# folded, quantized layer computes, not its capacity. So do learned steps.
_DECAYED = ('kernel', 'weights', 'rows')


def decay_mask(params: Any) -> Any:
  """A tree of bool: True at kernels and class weights."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) in _DECAYED,
    params,
  )


@dataclasses.dataclass(frozen=True)
class Regularization:
  """weight * (the sum of all squared kernels and class weights).

  Attributes:
    weight: of the penalty at the start; 0: there is none.
    decay: the penalty's coefficient, 1 at first, is multiplied by it after each
      step whose loss was smaller than its penalty; 1: it stays.
  """

  weight: Annotated[float, '[0, inf)']
  decay: Annotated[float, '(0, 1]']

  def __post_init__(self):
    check_values(self)

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
  return make_of_block(
    Regularization,
    config.to_dict(),
    block='regularization',
    owner='the penalty',
  )
