"""Timing in turns: A B C A B C ..., so that all meet the same disturbances.

Machines are noisy and drift; only ratios from one run say something.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping

_REST_SECONDS = 0.2


def limit_threads(count: int):
  """Keeps this process to `count` processors, where the system can.

  XLA starts a thread for each processor that the process may use when its
  backend starts: call this before any computation.

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
    rounds: that are timed; one goes before them, to compile and to touch all
      memory.
    settle: rest, then run a pass once untimed, before it is timed. For passes
      of several runtimes: the threads of one go on waiting for work, and keep
      the processors, for a while into the next.

  Returns:
    Name to the seconds of each round.
  """
  seconds = {name: [] for name in passes}
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


def allocator() -> str:
  """A line with the allocator's settings, which all figures depend on."""
  return f'GLIBC_TUNABLES {os.environ.get("GLIBC_TUNABLES", "not set")}'
