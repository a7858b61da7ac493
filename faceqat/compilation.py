"""Options of XLA: quick compilation, and wide vectors for integers.

A program may run too rarely to be worth optimising.

On a CPU, XLA then compiles a training step in a good half of the time, to code
of half the speed. A network whose layers are all outputs takes a quarter.
"""

from collections.abc import Callable, Sequence

_OPTIONS = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}
# XLA:CPU keeps to vectors of 256 bits. Floats stay with that: wider ones take
# sums in another order.
_INTEGER_OPTIONS = {'xla_cpu_prefer_vector_width': 512}
FLAGS = tuple(f'--{name}={value}'.lower() for name, value in _OPTIONS.items())


def with_flags(flags: Sequence[str], own: Sequence[str]) -> str:
  """A value of `XLA_FLAGS` in which a user's own flags replace the given ones.

  >>> with_flags(['--a=1', '--b=2'], ['--b=3'])
  '--a=1 --b=3'
  """
  names = {flag.partition('=')[0] for flag in own}
  added = [flag for flag in flags if flag.partition('=')[0] not in names]
  return ' '.join([*added, *own])


def jit_once(function: Callable) -> Callable:
  """`jax.jit` for what runs once or on few images, outside of another `jit`."""
  # Commands read FLAGS before they import JAX.
  import jax

  cpu = jax.default_backend() == 'cpu'
  return jax.jit(function, compiler_options=_OPTIONS if cpu else None)


def jit_integers(function: Callable) -> Callable:
  """`jax.jit` of integer arithmetic, outside of another `jit`.

  With AVX-512 the evaluator then takes 0.74 to 0.84 of its time.
  """
  import jax

  cpu = jax.default_backend() == 'cpu'
  return jax.jit(function, compiler_options=_INTEGER_OPTIONS if cpu else None)
