"""Times a training step in faceqat and in PyTorch, float and QAT, in turns.

  python -m benchmarks.training_step --model=mobilenet_v2

Each step is forward, ArcFace over 1000 classes, backward and SGD with momentum
in float32, on one batch of 112x112 images that stays in memory. All have the
same number of threads and the same allocator. Settings of PyTorch that are slow
by default are replaced by faster ones (see `torch_training`).

Use an idle machine: PyTorch's threads wait by spinning, so on a busy one its
times grow tenfold. Or set OMP_WAIT_POLICY=passive.
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
  """A step that raises if its loss is not finite."""

  def run():
    loss = step()
    if not math.isfinite(loss):
      raise FloatingPointError(f'{name}: the loss is {loss}')

  return run


def main():
  # Only this benchmark needs PyTorch.
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
  timing.define_flags(rounds=7, model=True)
  flags.DEFINE_integer('batch_size', 64, 'Images a step.', lower_bound=2)
  command.restart_with_tuned_allocator('benchmarks.training_step')
  command.run(main)
