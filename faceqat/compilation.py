"""Compiling quickly, where a program runs too rarely to be worth optimising.

XLA compiles a training step for a CPU in a good half of the time so, to code of
half the speed; the layers of a network, each of which is an output, in a
quarter.
"""

import os
from collections.abc import Callable, Sequence

import jax

_OPTIONS = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}
FLAGS = tuple(f'--{name}={value}'.lower() for name, value in _OPTIONS.items())


def with_flags(flags: Sequence[str], own: Sequence[str]) -> str:
  """`XLA_FLAGS` of these and a user's own, which win; none stands twice."""
  names = {flag.partition('=')[0] for flag in own}
  added = [flag for flag in flags if flag.partition('=')[0] not in names]
  return ' '.join([*added, *own])


def compile_quickly():
  """For runs of a few steps; before JAX first looks for its devices."""
  own = os.environ.get('XLA_FLAGS', '').split()
  os.environ['XLA_FLAGS'] = with_flags(FLAGS, own)


def jit_once(function: Callable) -> Callable:
  """`jax.jit` of what runs once or on few images; not in another `jit`."""
  cpu = jax.default_backend() == 'cpu'
  return jax.jit(function, compiler_options=_OPTIONS if cpu else None)
