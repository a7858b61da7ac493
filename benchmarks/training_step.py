"""A training step, ours and PyTorch's, float and QAT: four in turns.

  python -m benchmarks.training_step --model=mobilenet_v2

Each is forward, ArcFace over 1000 classes, backward and SGD with momentum in
float32, on one batch of 112x112 images that stays in memory, with as many
threads and the same allocator. Where PyTorch's defaults would make it slower
than it need be, it is given better (see `torch_training`).

The machine must have nothing else to do: PyTorch's threads wait by spinning,
and on a busy machine its times grow tenfold (or set OMP_WAIT_POLICY=passive).
"""

import math
import statistics

from absl import flags

from benchmarks import faceqat_training, timing
from faceqat import command

# Numerator, denominator, goal.
RATIOS = (
  ('QAT', 'float', 1.2),
  ('QAT', 'PyTorch QAT', 0.6),
  ('float', 'PyTorch float', 1.0),
)


def checked(name, step):
  """A step that complains if it no longer trains."""

  def run():
    loss = step()
    if not math.isfinite(loss):
      raise FloatingPointError(f'{name}: the loss is {loss}')

  return run


def main():
  # It needs PyTorch, which only this benchmark does.
  from benchmarks import torch_training

  args = flags.FLAGS
  timing.limit_threads(args.threads)
  ours, size = faceqat_training.make_steps(args.model, args.batch_size)
  theirs, their_size = torch_training.make_steps(
    args.model, args.batch_size, args.threads
  )
  if size != their_size:
    raise ValueError(
      f"our {args.model} has {size} parameters, PyTorch's {their_size}"
    )
  print(
    f'{args.model}, {size} parameters with the classifier, batch '
    f'{args.batch_size}, {args.threads} threads\n{timing.allocator()}',
    flush=True,
  )
  steps = {name: checked(name, step) for name, step in (ours | theirs).items()}
  times = timing.interleave(steps, args.rounds)
  for name, seconds in times.items():
    median = statistics.median(seconds)
    rate = args.batch_size / median
    print(f'{name:24} {1e3 * median:7.0f} ms {rate:7.1f} images/s')
  for name, reference, goal in RATIOS:
    ratio = timing.median_ratio(times[name], times[reference])
    print(f'{name + " / " + reference:24} {ratio:7.2f}    goal {goal}')


if __name__ == '__main__':
  flags.DEFINE_enum(
    'model', 'mobilenet_v2', ('mobilenet_v2', 'mobilefacenet'), 'Network.'
  )
  flags.DEFINE_integer('batch_size', 64, 'Images a step.', lower_bound=2)
  flags.DEFINE_integer('rounds', 7, 'Timed steps of each.', lower_bound=1)
  flags.DEFINE_integer('threads', 2, 'Of each side.', lower_bound=1)
  command.restart_with_tuned_allocator('benchmarks.training_step')
  command.run(main)
