"""Milliseconds per image of the integer evaluator beside the float forward.

  python -m benchmarks.integer_evaluator --model=mobilenet_v2

The network has random weights, and batch norms and ranges that have seen one
batch; it is lowered for 112x112 images. Its readings run in turns, on images
that stay in memory.
"""

import functools
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from benchmarks import timing
from benchmarks import training_task as task
from configs import common
from faceqat import command
from faceqat.checkpoint import Network
from faceqat.convert import lower
from faceqat.integer.evaluator import make_evaluator
from faceqat.models.build import make_model
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode
from faceqat.train_state import make_predict


def make_network(name: str) -> Network:
  """Returns a network that was never trained, with all that lowering needs."""
  config = ConfigDict(
    {
      'model': {
        'name': name,
        'embedding_size': task.EMBEDDING_SIZE,
        'dtype': 'float32',
        # The moving statistics become those of the one batch.
        'bn_momentum': 0.0,
      },
      'quant': common.int8(),
      'data': {'image_size': task.IMAGE_SIZE},
    }
  )
  model = make_model(config)
  images = jnp.asarray(task.make_batch(8)[0])
  variables = jax.jit(model.init, static_argnums=2)(
    jax.random.key(0), images, FLOAT
  )
  observe = Mode(train=True, observe=True)
  _, observed = jax.jit(
    lambda variables: model.apply(
      variables, images, observe, mutable=['batch_stats', 'quant_stats']
    )
  )(variables)
  return Network(model, variables | observed, config, step=0)


def make_readings(network: Network) -> dict[str, Callable]:
  """Returns functions from images [B, H, W, 3] uint8 to embeddings, by name."""
  model, variables = network.model, network.variables
  return {
    'integer': make_evaluator(lower(network)),
    'float': make_predict(model, variables, FLOAT),
    'fake_quant': make_predict(model, variables, FAKE_QUANT),
  }


def check(readings: dict[str, Callable], images: jax.Array):
  """Fails unless the integer reading gives integers that mean something.

  Raises:
    ValueError: an output is not int8, or as good as constant.
  """
  embeddings = readings['integer'](images)
  if embeddings.dtype != jnp.int8:
    raise ValueError(f'the integer reading gives {embeddings.dtype}, not int8')
  if np.ptp(np.asarray(embeddings, np.int32)) < 100:
    raise ValueError('the integer reading is as good as constant')


def measure(readings, batch_size: int, rounds: int) -> dict[str, list[float]]:
  """Returns the seconds of each reading in each round."""
  images = jnp.asarray(task.make_batch(batch_size)[0])
  check(readings, images)

  def run(embed):
    jax.block_until_ready(embed(images))

  passes = {
    name: functools.partial(run, embed) for name, embed in readings.items()
  }
  return timing.interleave(passes, rounds)


def main():
  args = flags.FLAGS
  timing.limit_threads(args.threads)
  readings = make_readings(make_network(args.model))
  print(f'{args.model}, {args.threads} threads, ms per image')
  print(timing.allocator())
  names = ''.join(f'{name:>12}' for name in readings)
  print(f'{"batch":>5}{names}{"integer / float":>17}', flush=True)
  for batch_size in map(int, args.batch_sizes):
    times = measure(readings, batch_size, args.rounds)
    medians = ''.join(
      f'{1e3 * statistics.median(seconds) / batch_size:12.2f}'
      for seconds in times.values()
    )
    ratio = timing.median_ratio(times['integer'], times['float'])
    print(f'{batch_size:5}{medians}{ratio:17.2f}', flush=True)


if __name__ == '__main__':
  flags.DEFINE_enum(
    'model', 'mobilenet_v2', ('mobilenet_v2', 'mobilefacenet'), 'Network.'
  )
  flags.DEFINE_list('batch_sizes', '1,32', 'Images at a time, each measured.')
  flags.DEFINE_integer('rounds', 21, 'Timed passes of each.', lower_bound=1)
  flags.DEFINE_integer('threads', 2, 'Processors to use.', lower_bound=1)
  command.restart_with_tuned_allocator('benchmarks.integer_evaluator')
  command.run(main)
