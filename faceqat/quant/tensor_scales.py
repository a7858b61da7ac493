"""The scales of the tensors of a call, for roundings that depend on them.

A runtime's kernel rounds twice (docs/integer_arithmetic.md, Double rounding),
and where the first rounding falls depends on the scales of what goes in and of
what comes out. Layers hand on arrays, which have no scale. So each quantizer
notes the scale of the array that it gives, and the layer that reads this very
array asks for it.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax

from faceqat.quant import numerics

# By identity: the array, which it keeps alive, and its scale.
_Noted = dict[int, tuple[jax.Array, jax.Array]]
_noted: contextvars.ContextVar[_Noted | None] = contextvars.ContextVar(
  'noted scales', default=None
)


@contextlib.contextmanager
def followed() -> Iterator[None]:
  """Follows the scales of one call of a network."""
  token = _noted.set({})
  try:
    yield
  finally:
    _noted.reset(token)


def note(x: jax.Array, scale: jax.Array | float):
  """Notes the real value of one step of an array, [] float32."""
  noted = _noted.get()
  if noted is not None:
    noted[id(x)] = x, jax.lax.stop_gradient(scale)


def carry(x: jax.Array, y: jax.Array) -> jax.Array:
  """Gives `y`, which has values of `x` and so its scale."""
  noted = _noted.get()
  if noted and id(x) in noted:
    noted[id(y)] = y, noted[id(x)][1]
  return y


def units(
  x: Any, kernel_scale: jax.Array | float = 1.0
) -> numerics.Units | None:
  """What 1 stands for in sums over an array; None where nothing was noted.

  Args:
    x: what a layer reads.
    kernel_scale: of the integers that it is multiplied with, [C] or [].
  """
  noted = _noted.get()
  if not noted or id(x) not in noted:
    return None
  return (noted[id(x)][1] * jax.lax.stop_gradient(kernel_scale),)
