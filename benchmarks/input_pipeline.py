"""Measures how many images a second the training input gives.

  python -m benchmarks.input_pipeline --images=../shared/data/faces_train

The folder person/image.jpg holds crops of 112x112. `decoded each time` reads
and decodes every image whenever it is used, `kept` takes it from the file of
decoded images (data.cache_gb), which is made here in a temporary folder. A rate
is that of batches as the training loop takes them, and in the last column with
their augmentation on this machine's own device. All run in turns.
"""

import contextlib
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import tabulate
from absl import flags

from benchmarks import timing
from configs import common
from faceqat import command
from faceqat.data import decoded, pipeline
from faceqat.data.augment import Augment
from faceqat.data.augment_batch import augment_batch
from faceqat.data.sources.folder import FolderSource

SIZE = 112


def make_pass(
  iterator: pipeline.TrainIterator, batches: int, augments: bool
) -> Callable[[], None]:
  """A function that takes so many batches."""

  def run():
    for _ in range(batches):
      batch = next(iterator)
      if augments:
        jax.block_until_ready(augment_batch(jax.device_put(batch)))

  return run


def measure(source, args) -> list[tuple]:
  """Rows: a form of the images, threads, and images/s of both kinds."""
  began = time.perf_counter()
  kept, notes = decoded.keep_decoded(source, SIZE, args.cache_gb)
  if notes:
    raise ValueError(notes[0])
  rate = len(source) / (time.perf_counter() - began)
  print(f'{len(source)} images, decoded once and kept: {rate:,.0f} images/s')
  make = functools.partial(
    pipeline.make_train_iterator,
    batch_size=args.batch_size,
    seed=0,
    augment=Augment(**common.data().augment),
    skip_damaged=False,
  )
  passes = {}
  with contextlib.ExitStack() as stack:
    for form, images in (('decoded each time', source), ('kept', kept)):
      for threads in (1, 2):
        for augments in (False, True):
          iterator = make(images, num_threads=threads)
          stack.enter_context(contextlib.closing(iterator))
          run = make_pass(iterator, args.batches, augments)
          passes[form, threads, augments] = run
    seconds = timing.interleave(passes, args.rounds)
  count = args.batches * args.batch_size
  rates = {
    key: count / statistics.median(times) for key, times in seconds.items()
  }
  return [
    (form, threads, rate, rates[form, threads, True])
    for (form, threads, augments), rate in rates.items()
    if not augments
  ]


def main():
  args = flags.FLAGS
  timing.limit_threads(args.threads)
  print(timing.allocator())
  source = FolderSource(args.images, SIZE)
  with tempfile.TemporaryDirectory() as folder:
    os.environ['XDG_CACHE_HOME'] = folder
    rows = measure(source, args)
  headers = 'images', 'reading threads', 'images/s', 'augmented, images/s'
  print(
    tabulate.tabulate(
      rows, headers, tablefmt='pipe', floatfmt=',.0f', intfmt=','
    )
  )


if __name__ == '__main__':
  timing.define_flags(rounds=5)
  flags.DEFINE_string('images', None, 'Folder person/image.', required=True)
  flags.DEFINE_integer('batch_size', 64, 'Images a batch.', lower_bound=1)
  flags.DEFINE_integer('batches', 20, 'Batches a turn.', lower_bound=1)
  flags.DEFINE_float('cache_gb', 4.0, 'As data.cache_gb.')
  command.restart_with_tuned_allocator()
  command.run(main)
