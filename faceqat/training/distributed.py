"""Several processes that train as one: how they meet, agree and part.

Every process runs the same program on its own devices, which JAX joins to one
mesh. Only the first process prints, logs, saves and evaluates. The others need
no disk in common with it, only the training data.
"""

import contextlib
import json
import os
import sys
import traceback
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from faceqat import command

# At the end the others wait while the first process evaluates. A process that
# dies is still noticed, by its heartbeat.
_FAREWELL_SECONDS = 24 * 60 * 60


@contextlib.contextmanager
def connected(
  distributed: bool,
  coordinator_address: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> Iterator[None]:
  """Joins this process with the others; an error inside ends it at once.

  TPU pods, Slurm and Open MPI need none of the last three arguments, other
  places all of them.

  Args:
    distributed: off, there is one process, and nothing is done.
    coordinator_address: host:port of the first process.
    num_processes: of all.
    process_id: of this one, from 0.

  Raises:
    ValueError: options that do not fit each other, or no cluster was found.
  """
  _check_options(distributed, coordinator_address, num_processes, process_id)
  if not distributed:
    yield
    return
  # JAX's own service would catch SIGTERM before `StopRequest` does.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
      coordinator_address,
      num_processes,
      process_id,
      shutdown_timeout_seconds=_FAREWELL_SECONDS,
    )
  except ValueError as error:
    raise ValueError(
      f'--distributed found no cluster ({error}); outside of TPU pods, Slurm '
      'and Open MPI give --coordinator_address, --num_processes and '
      '--process_id'
    ) from error
  try:
    with contextlib.ExitStack() as stack:
      if not is_first():
        silence = stack.enter_context(open(os.devnull, 'w'))
        stack.enter_context(contextlib.redirect_stdout(silence))
      yield
  except Exception as error:
    _leave(error)


def _check_options(distributed, coordinator_address, num_processes, process_id):
  options = {
    '--coordinator_address': coordinator_address,
    '--num_processes': num_processes,
    '--process_id': process_id,
  }
  given = [name for name, value in options.items() if value is not None]
  missing = [name for name, value in options.items() if value is None]
  if given and not distributed:
    raise ValueError(f'{given[0]} is given without --distributed; add it')
  if given and missing:
    raise ValueError(
      f'{given[0]} is given without {" and ".join(missing)}; give all three, '
      'or none on TPU pods, Slurm and Open MPI'
    )
  if not given:
    return
  host, _, port = coordinator_address.rpartition(':')
  if not host or not port.isdecimal():
    raise ValueError(
      f'--coordinator_address is {coordinator_address!r}; give host:port of '
      'the process with --process_id=0, such as 10.0.0.2:8476'
    )
  if not 0 <= process_id < num_processes:
    raise ValueError(
      f'--process_id is {process_id} of --num_processes {num_processes}; '
      'count from 0'
    )


def _leave(error: Exception):
  """Ends the process with its error, without waiting for the others.

  They wait for it in a sum or a barrier, and end when it is gone.
  """
  sys.stdout.flush()
  if not isinstance(error, command.USER_ERRORS):
    traceback.print_exception(error)
  print(f'process {jax.process_index()}: error: {error}', file=sys.stderr)
  sys.stderr.flush()
  os._exit(1)


def is_first() -> bool:
  """Whether this process is the one that prints, logs, saves and evaluates."""
  return jax.process_index() == 0


def arrays_of_first(tree: Any) -> Any:
  """The arrays of the first process, in all of them.

  Args:
    tree: arrays that this process can read whole. In other processes than the
      first only the shapes and types matter.
  """
  if jax.process_count() == 1:
    return tree
  return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def value_of_first(value: Any) -> Any:
  """A value of the first process, in all of them: anything that JSON holds."""
  if jax.process_count() == 1:
    return value
  text = json.dumps(value).encode() if is_first() else b''
  content = np.zeros(int(arrays_of_first(np.int32(len(text)))), np.uint8)
  if is_first():
    content[:] = np.frombuffer(text, np.uint8)
  return json.loads(arrays_of_first(content).tobytes())


def check_same(values: dict[str, Any]):
  """Refuses processes whose values differ.

  Args:
    values: by name, as JSON takes them.

  Raises:
    ValueError: in all processes, naming the value and the process.
  """
  if jax.process_count() == 1:
    return
  digests = [
    zlib.crc32(json.dumps(value, sort_keys=True).encode())
    for value in values.values()
  ]
  everybody = multihost_utils.process_allgather(np.array(digests, np.uint32))
  for name, column in zip(values, everybody.T):
    others = np.flatnonzero(column != column[0])
    if len(others):
      raise ValueError(
        f'process {others[0]} has other {name} than process 0; give every '
        'process the same command and the same files'
      )
