"""What the commands have in common: how they start, and how they fail."""

import os
import platform
import sys
from collections.abc import Callable

from absl import app, logging

# The C allocator settings under which XLA trains twice as fast on a CPU. Every
# step allocates and frees the same large buffers. With glibc's defaults each
# is mapped, zeroed page by page by the kernel, and unmapped again; kept in the
# heap, in huge pages, they are not.
TUNABLES = (
  'glibc.malloc.hugetlb=1'
  ':glibc.malloc.mmap_threshold=4294967296'
  ':glibc.malloc.trim_threshold=17179869184'
  ':glibc.malloc.arena_max=1'
)


def restart_with_tuned_allocator(module: str):
  """Restarts `python -m module` under `TUNABLES`, once, where glibc is in use.

  glibc reads them when a process starts, so this is the only way to set them
  from inside. A user's own `GLIBC_TUNABLES` is left alone.
  """
  if platform.libc_ver()[0] != 'glibc' or 'GLIBC_TUNABLES' in os.environ:
    return
  os.environ['GLIBC_TUNABLES'] = TUNABLES
  os.execv(sys.executable, [sys.executable, '-m', module, *sys.argv[1:]])


def run(main: Callable[[], None]):
  """Runs a command after parsing its flags.

  A wrong input ends it with one sentence and exit status 1; where it was
  raised is shown with `--verbosity=1`.
  """

  # TensorFlow, which writes the TensorBoard files, greets on standard error.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

  def run_main(argv: list[str]):
    if len(argv) > 1:
      raise app.UsageError(f'unexpected argument {argv[1]!r}')
    try:
      main()
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
      logging.debug('traceback', exc_info=True)
      sys.exit(f'error: {error}')

  app.run(run_main)
