"""Compares the training time of our convolutions with that of `lax.conv`.

  python -m benchmarks.convolution

The layers are those of MobileNetV2 on 112x112 faces. A time is one forward and
backward pass; the two forms run in turns.
"""

import statistics

import jax
import numpy as np
from absl import flags

from benchmarks import timing
from faceqat import command
from faceqat.quant import convolution

# (H = W, channels in, channels out or None for depthwise, kernel, stride)
LAYERS = (
  (56, 32, None, 3, 1),
  (56, 96, None, 3, 2),
  (28, 144, None, 3, 1),
  (28, 144, None, 3, 2),
  (14, 384, None, 3, 1),
  (14, 576, None, 3, 2),
  (7, 960, None, 3, 1),
  (7, 512, None, 7, 1),
  (56, 16, 96, 1, 1),
  (28, 144, 24, 1, 1),
  (14, 96, 576, 1, 1),
  (7, 320, 1280, 1, 1),
)


def make_pass(backend, strides, padding, depthwise):
  """Returns a jitted (x, kernel, cotangent) -> (y, dx, dkernel)."""

  @jax.jit
  def run(x, kernel, g):
    def forward(x, kernel):
      return convolution.conv2d(
        x,
        kernel,
        strides=strides,
        padding=padding,
        depthwise=depthwise,
        backend=backend,
      )

    y, pullback = jax.vjp(forward, x, kernel)
    return y, *pullback(g)

  return run


def measure(layer, batch_size, rounds):
  """Returns the seconds of each round, by form."""
  size, inputs, outputs, taps, stride = layer
  depthwise = outputs is None
  if taps == size:
    padding = ((0, 0), (0, 0))
  else:
    padding = convolution.explicit_padding(
      'SAME', (size, size), (taps, taps), (stride, stride)
    )
  channels = (1, inputs) if depthwise else (inputs, outputs)
  output = (size - taps + sum(padding[0])) // stride + 1
  shapes = (
    (batch_size, size, size, inputs),
    (taps, taps, *channels),
    (batch_size, output, output, outputs or inputs),
  )
  rng = np.random.default_rng(0)
  x, kernel, g = (
    jax.device_put(rng.standard_normal(shape, np.float32)) for shape in shapes
  )

  def form(backend):
    run = make_pass(backend, (stride, stride), padding, depthwise)
    return lambda: jax.block_until_ready(run(x, kernel, g))

  # 'gpu' names the plain lax form; it is still compiled for this machine.
  return timing.interleave({'ours': form('cpu'), 'lax': form('gpu')}, rounds)


def _name(size, inputs, outputs, taps, stride):
  kind = 'depthwise' if outputs is None else f'to {outputs}'
  return f'{size}x{size}x{inputs} {taps}x{taps}/{stride} {kind}'


def main():
  args = flags.FLAGS
  timing.limit_threads(args.threads)
  print(
    f'{jax.default_backend()}, batch {args.batch_size}, {args.threads} threads'
  )
  print(timing.allocator())
  named = {_name(*layer): layer for layer in LAYERS}
  chosen = {name: named[name] for name in named if args.layers in name}
  if not chosen:
    raise ValueError(
      f'--layers={args.layers} is in no name; they are {", ".join(named)}'
    )
  print(f'{"layer":28} {"ours ms":>9} {"lax ms":>9} {"ratio":>6}')
  for name, layer in chosen.items():
    times = measure(layer, args.batch_size, args.rounds)
    ours, plain = (1e3 * statistics.median(times[f]) for f in ('ours', 'lax'))
    ratio = timing.median_ratio(times['ours'], times['lax'])
    print(f'{name:28} {ours:9.1f} {plain:9.1f} {ratio:6.2f}', flush=True)


if __name__ == '__main__':
  flags.DEFINE_integer('batch_size', 64, 'Images.', lower_bound=1)
  flags.DEFINE_string(
    'layers', '', 'Part of the names to measure, such as depthwise; else all.'
  )
  timing.define_flags(rounds=5)
  command.restart_with_tuned_allocator()
  command.run(main)
