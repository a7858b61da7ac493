"""Programs of a few operators, and a network that records every operator."""

import dataclasses

import numpy as np
from kernel_checks import int8

from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import QParams, Tensor


def small_program(weight_bits=8, image=(2, 2, 3), channels=5, **fields):
  """An image, flattened, and one dense layer."""
  rng = np.random.default_rng(0)
  limit = 2 ** (weight_bits - 1) - 1
  size = int(np.prod(image))
  image = Tensor('image', image, 1 / 128, 0)
  flat = dataclasses.replace(image, name='flat', shape=(size,))
  operators = (
    ops.Reshape(name='flat', inputs=('image',)),
    ops.Dense(
      name='embedding',
      inputs=('flat',),
      weights=rng.integers(-limit, limit + 1, (size, channels)).astype(np.int8),
      weight_scale=np.full(channels, 3.2 / limit, np.float32),
      weight_bits=weight_bits,
      bias=rng.integers(-limit, limit, channels).astype(np.int32),
    ),
  )
  tensors = [image, flat, Tensor('embedding', (channels,), 0.2, 3)]
  return IntegerProgram(
    tensors={tensor.name: tensor for tensor in tensors},
    operators=operators,
    input='image',
    output='embedding',
    **fields,
  )


def _make_program():
  """A mean and a dense layer, whose scales look like a digest to come."""
  tensors = [
    Tensor('image', (4, 4, 3), 1 / 128, 0),
    Tensor('mean', (3,), 0.01, 0),
    Tensor('embedding', (64,), 0.02, 0),
  ]
  operators = (
    ops.Mean(name='mean', inputs=('image',)),
    ops.Dense(
      name='embedding',
      inputs=('mean',),
      weights=np.full([3, 64], ord('0'), np.int8),
      weight_scale=np.full(64, 0.01, np.float32),
      bias=np.zeros(64, np.int32),
    ),
  )
  return IntegerProgram(
    {tensor.name: tensor for tensor in tensors}, operators, 'image', 'embedding'
  )


PROGRAM = _make_program()


def small_network(bits=8, weight_bits=8, seed=0):
  """A function of a symbol (16, 16, 3) that uses every operator."""
  rng = np.random.default_rng(seed)
  limit = 2 ** (weight_bits - 1) - 1
  last = 2 ** (bits - 1) - 1

  def q(scale, zero_point=0):
    # Wider steps for fewer bits keep the same real range.
    zero_point = max(-last, min(last, zero_point))
    return QParams(scale * 2.0 ** (8 - bits), zero_point, bits)

  def weighted(*shape):
    return {
      'weights': int8(rng, *shape, low=-limit, high=limit),
      'weight_scale': (rng.uniform(0.3, 2, shape[-1]) / 30 / limit).astype(
        np.float32
      ),
      'weight_bits': weight_bits,
      'bias': rng.normal(0, 0.3, shape[-1]),
    }

  def network(image):
    relu6 = (0.0, 6.0)
    x = tracing.weighted(
      ops.Conv2D,
      image,
      name='stem',
      **weighted(3, 3, 3, 8),
      strides=(2, 2),
      # Of padding (1, 1), stride 2 on an even side uses only the first.
      padding=((1, 1), (1, 1)),
      activation_range=relu6,
      output=q(0.02, -128),
    )
    skip = x
    x = tracing.weighted(
      ops.Conv2D,
      x,
      name='block/depthwise',
      **weighted(3, 3, 1, 8),
      depthwise=True,
      padding=((1, 1), (1, 1)),
      output=q(0.013, 4),
    )
    x = tracing.apply(
      ops.PReLU,
      x,
      name='prelu',
      alpha=int8(rng, 8),
      alpha_scale=0.004,
      output=q(0.011, -30),
    )
    x = tracing.weighted(
      ops.Conv2D,
      x,
      name='project',
      **weighted(3, 3, 8, 8),
      padding=((1, 1), (1, 1)),
      output=q(0.02, 7),
    )
    x = tracing.add(x, skip, name='add', output=q(0.02, -60))
    x = tracing.apply(
      ops.SumPReLU,
      x,
      name='sum_prelu',
      weights=np.array([127, -127, 90, 0, -127, 127, -1, 127], np.int8),
      weight_scale=np.float32(np.linspace(0.0005, 0.004, 8)),
      rise_scale=0.008,
      output=q(0.02, -60),
    )
    y = tracing.apply(
      ops.MaxPool, x, name='pool', window=(2, 2), strides=(2, 2)
    )
    z = tracing.weighted(
      ops.Conv2D,
      x,
      name='down',
      **weighted(1, 1, 8, 4),
      strides=(2, 2),
      output=q(0.01, 9),
    )
    x = tracing.concat([y, z], name='concat', output=q(0.017, -40))
    x = tracing.clamp(x, name='relu', activation_range=(0.0, np.inf))
    m = tracing.apply(ops.Mean, x, name='mean', output=q(0.008, -90))
    x = tracing.apply(
      ops.AveragePool,
      x,
      name='average',
      window=(3, 3),
      strides=(1, 1),
      padding=((1, 1), (1, 1)),
    )
    gate = tracing.apply(ops.Logistic, m, name='gate')
    x = tracing.apply(ops.SquareRoot, x, name='root', output=q(0.02, -100))
    x = tracing.apply(ops.Mul, x, gate, name='gated', output=q(0.01, -90))
    x = tracing.weighted(
      ops.Conv2D,
      x,
      name='global',
      **weighted(4, 4, 1, 12),
      depthwise=True,
      output=q(0.01),
    )
    x = tracing.apply(ops.Reshape, x, name='flatten')
    x = tracing.concat([x, m], name='joined', output=q(0.012))
    x = tracing.weighted(
      ops.Dense, x, name='embedding', **weighted(24, 16), output=q(0.006)
    )
    return tracing.apply(ops.L2Normalize, x, name='normalized')

  return network


def record_network(bits=8, weight_bits=8, **fields):
  """The program of `small_network`."""
  network = small_network(bits, weight_bits)
  return tracing.trace(network, image_shape=(16, 16, 3), **fields)


def network_images(count=8):
  """Images for `small_network`: black, white, and others of some color."""
  rng = np.random.default_rng(9)
  images = rng.uniform(0, 256, (count, 16, 16, 3))
  images *= rng.uniform(0, 1, (count, 1, 1, 3))
  images[0], images[1] = 0, 255
  return images.astype(np.uint8)
