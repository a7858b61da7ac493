"""Times functions in turns, A B C A B C ..., so that noise hits all alike.

Machines are noisy and drift, so only ratios within one run mean anything.
"""

import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from absl import flags

from faceqat import progress

_REST_SECONDS = 0.2


def define_flags(rounds: int, *, model: bool = False):
  """Defines --rounds and --threads, and if wanted --model."""
  if model:
    names = ('mobilenet_v2', 'mobilefacenet')
    flags.DEFINE_enum('model', names[0], names, 'Network.')
  flags.DEFINE_integer('rounds', rounds, 'Timed passes of each.', lower_bound=1)
  flags.DEFINE_integer('threads', 2, 'Processors to use.', lower_bound=1)


def limit_threads(count: int):
  """Keeps this process to `count` processors, where the system can.

  Call it before any computation: XLA's backend starts one thread for each
  processor that the process may use.

  Raises:
    ValueError: the process may not use as many.
  """
  if not hasattr(os, 'sched_setaffinity'):
    return
  allowed = sorted(os.sched_getaffinity(0))
  if count > len(allowed):
    raise ValueError(
      f'--threads is {count}, but this process may use {len(allowed)} '
      'processors; choose no more'
    )
  os.sched_setaffinity(0, allowed[:count])


def interleave(
  passes: Mapping[str, Callable[[], object]],
  rounds: int,
  settle: bool = False,
) -> dict[str, list[float]]:
  """Times every pass once a round, in turns.

  Args:
    passes: name to a function that returns when its work is done.
    rounds: timed rounds. An untimed one before them compiles and touches all
      memory.
    settle: before timing a pass, rest and run it once untimed. For passes of
      several runtimes, because waiting threads of one keep the processors busy
      for a while.

  Returns:
    Name to the seconds of each round.
  """
  seconds = {name: [] for name in passes}
  with progress.doing('timing'):
    for _ in range(rounds + 1):
      for name, run in passes.items():
        if settle:
          time.sleep(_REST_SECONDS)
          run()
        start = time.perf_counter()
        run()
        seconds[name].append(time.perf_counter() - start)
  return {name: times[1:] for name, times in seconds.items()}


def median_ratio(seconds: list[float], reference: list[float]) -> float:
  """The median, over rounds, of the ratio of two passes of the same round."""
  return statistics.median(a / b for a, b in zip(seconds, reference))


def processor(features: Sequence[str]) -> str:
  """A line with those of some instruction sets that the processor has."""
  try:
    words = {*pathlib.Path('/proc/cpuinfo').read_text().split()}
  except OSError:
    return f'processor {platform.machine()}'
  found = ' '.join(name for name in features if name in words)
  return f'processor {platform.machine()} with {found or "none of these"}'


def allocator() -> str:
  """A line with the allocator's settings, which all figures depend on."""
  return f'GLIBC_TUNABLES {os.environ.get("GLIBC_TUNABLES", "not set")}'
