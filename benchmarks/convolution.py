"""Training time of each convolution form over that of `lax.conv`, one run.

Layers are those of MobileNetV2 on 112x112 faces; a time is one forward and
backward pass. The allocator matters as much as the form (glibc's defaults
return every large buffer to the system), so run it as training runs:

  GLIBC_TUNABLES=glibc.malloc.hugetlb=1:\
glibc.malloc.mmap_threshold=4294967296:\
glibc.malloc.trim_threshold=17179869184:glibc.malloc.arena_max=1 \
  python benchmarks/convolution.py --batch_size=64
"""

import argparse
import os
import statistics
import time

import jax

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


def measure(layer, batch_size, repeats):
  """Returns the median seconds of (our form, lax.conv), interleaved."""
  size, inputs, outputs, taps, stride = layer
  depthwise = outputs is None
  if taps == size:
    padding = ((0, 0), (0, 0))
  else:
    padding = convolution.same_padding(
      (size, size), (taps, taps), (stride, stride)
    )
  keys = jax.random.split(jax.random.key(0), 3)
  shape = (1, inputs) if depthwise else (inputs, outputs)
  x = jax.random.normal(keys[0], (batch_size, size, size, inputs))
  kernel = jax.random.normal(keys[1], (taps, taps, *shape))
  output = (size - taps + sum(padding[0])) // stride + 1
  g = jax.random.normal(
    keys[2], (batch_size, output, output, outputs or inputs)
  )
  # 'gpu' names the plain lax form; it is compiled for this machine all the
  # same.
  runs = [
    make_pass(backend, (stride, stride), padding, depthwise)
    for backend in ('cpu', 'gpu')
  ]
  seconds = ([], [])
  for _ in range(repeats + 1):
    for times, run in zip(seconds, runs):
      start = time.perf_counter()
      jax.block_until_ready(run(x, kernel, g))
      times.append(time.perf_counter() - start)
  return [statistics.median(times[1:]) for times in seconds]


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--repeats', type=int, default=5)
  args = parser.parse_args()
  tunables = os.environ.get('GLIBC_TUNABLES', 'not set')
  print(f'{jax.default_backend()}, batch {args.batch_size}')
  print(f'GLIBC_TUNABLES {tunables}')
  print(f'{"layer":28} {"ours ms":>9} {"lax ms":>9} {"ratio":>6}')
  for layer in LAYERS:
    size, inputs, outputs, taps, stride = layer
    kind = 'depthwise' if outputs is None else f'to {outputs}'
    name = f'{size}x{size}x{inputs} {taps}x{taps}/{stride} {kind}'
    ours, plain = measure(layer, args.batch_size, args.repeats)
    print(
      f'{name:28} {1e3 * ours:9.1f} {1e3 * plain:9.1f} {ours / plain:6.2f}',
      flush=True,
    )


if __name__ == '__main__':
  main()
