"""A search through a jaxpr and all that are nested in it."""

import jax
import jax.extend.core as jex
import jax.numpy as jnp


def all_jaxprs(value):
  """Every jaxpr inside a parameter of an equation, however nested."""
  if isinstance(value, jex.ClosedJaxpr):
    yield value.jaxpr
  elif isinstance(value, jex.Jaxpr):
    yield value
  elif isinstance(value, (tuple, list)):
    for item in value:
      yield from all_jaxprs(item)
  elif isinstance(value, dict):
    yield from all_jaxprs(list(value.values()))


def all_equations(jaxpr):
  """The equations of a jaxpr and of all jaxprs within it."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in all_jaxprs(list(equation.params.values())):
      yield from all_equations(inner)


def forbidden_types(function, *arguments):
  """Names of primitives that touch a float or a 64-bit type."""
  closed = jax.make_jaxpr(function)(*arguments)
  found = set()
  for equation in all_equations(closed.jaxpr):
    for variable in (*equation.invars, *equation.outvars):
      dtype = variable.aval.dtype
      integer = jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_
      if not integer or dtype.itemsize > 4:
        found.add(f'{equation.primitive.name}:{dtype}')
  return found
