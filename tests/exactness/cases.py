"""Graphs of single operators with random and hostile parameters.

Every reader of a program is held to them: nothing here knows a runtime. A
case's operators read the case's inputs alone, so each output is one
operator's work.
"""

import itertools
import os
import zlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from case_drafts import (
  INT8,
  Case,
  Draft,
  draw_clamp,
  draw_int8,
  draw_narrower,
  draw_qparams,
  draw_scale,
  draw_zero_point,
  geometry,
)
from weighted_cases import convolution, dense

from faceqat.integer import kernels
from faceqat.integer import operators as ops
from faceqat.integer.tensors import QParams

# How many times as many outputs a nightly run compares.
COUNT_FACTOR = 10 if os.environ.get('FACEQAT_NIGHTLY') == '1' else 1
# However large one is, others have other scales.
_LEAST_CASES = 4
# An operator of these has its 256 outputs in 128 pairs of scales, or more.
_TABLES = ('Requantize', 'Logistic', 'SquareRoot')


def cases(kind: str, seed: int = 0, outputs: int = 100_000) -> Iterator[Case]:
  """Draws cases of one kind, some, until they have this many outputs.

  Args:
    kind: one of `KINDS`.
    seed: of the draw.
    outputs: integers to compare, times `COUNT_FACTOR`.
  """
  rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
  if kind in _TABLES:
    outputs = min(outputs, 128 * 256)
  return draw_cases(kind, _MAKERS[kind], rng, outputs, _LEAST_CASES)


def draw_cases(
  title: str, make, rng, outputs: int = 100_000, least: int = 1
) -> Iterator[Case]:
  """Draws cases with `make(draft, rng, index)`, which returns their labels."""
  left = outputs * COUNT_FACTOR
  for index in itertools.count():
    draft = Draft()
    label = make(draft, rng, index)
    case = draft.finish(f'{title}, case {index}: {label}')
    yield case
    left -= case.count
    if left <= 0 and index + 1 >= least:
      return


def compute(case: Case, kernel=kernels.compute) -> dict[str, np.ndarray]:
  """The outputs of a case by the evaluator's kernels.

  Args:
    case: what to run.
    kernel: `kernels.compute`, or another with its arguments and result.
  """

  def run(arrays):
    values = dict(zip(case.inputs, arrays))
    for operator in case.operators:
      values[operator.output] = kernel(
        operator,
        [values[name] for name in operator.inputs],
        case.tensors_of(operator),
        case.tensors[operator.output],
      )
    return {name: values[name] for name in case.outputs}

  # Compiled as one function, as in the evaluator. Integers come out the same
  # step by step, which is sooner done for many small operators.
  if len(case.operators) < 10:
    run = jax.jit(run)
  return jax.tree.map(np.asarray, run(tuple(map(jnp.asarray, case.arrays))))


def _of_few_bits(make, draft, rng, index, **options):
  """Weights of 2, 3 and 4 bits in turn, which tie scans have all of, too."""
  bits = 2 + (index + index // 3) % 3
  label = make(draft, rng, index, bits=bits, **options)
  return f'{label}, {bits} bits'


def _all_pairs(draft, rng, first: QParams, second: QParams, per_channel):
  """Inputs 'a' and 'b' that hold every pair of int8 values."""
  values = np.arange(-128, 128, dtype=np.int8)
  if per_channel:
    draft.input('a', np.tile(values.reshape(1, 16, 16, 1), 256), first)
    draft.input('b', values[None], second)
  else:
    a, b = np.meshgrid(values, values)
    draft.input('a', a.reshape(4, 8, 16, 128), first)
    draft.input('b', b.reshape(4, 8, 16, 128), second)


def _add(draft, rng, index):
  first, second = draw_qparams(rng), draw_qparams(rng)
  if index == 0:
    # Halves of the output's step: every odd sum is a tie.
    first = second = QParams(0.25, first.zero_point)
  _all_pairs(draft, rng, first, second, per_channel=False)
  largest = max(first.scale, second.scale)
  for number, factor in enumerate((2.0, 1.7, 10 ** rng.uniform(-3, 2))):
    out = draw_narrower(rng, QParams(largest * factor, draw_zero_point(rng)))
    draft.operator(ops.Add(name=f'out{number}', inputs=('a', 'b')), out)
  return f'{first}, {second}'


def _mul(draft, rng, index):
  first, second = draw_qparams(rng), draw_qparams(rng)
  per_channel = index % 2 == 0
  _all_pairs(draft, rng, first, second, per_channel)
  product = first.scale * second.scale
  for number, factor in enumerate((64.0, 2.0**-3, 10 ** rng.uniform(-1, 4))):
    out = draw_narrower(rng, QParams(product * factor, draw_zero_point(rng)))
    draft.operator(ops.Mul(name=f'out{number}', inputs=('a', 'b')), out)
  return f'{first}, {second}, second per channel: {per_channel}'


def _all_values(draft, source: QParams, channels=1, name='in'):
  x = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
  draft.input(name, np.tile(x, channels), source)


def _of_all_values(draft, number: int, kind, source: QParams, out: QParams):
  """Operator `number` of a case, on an input of its own."""
  _all_values(draft, source, name=f'in{number}')
  draft.operator(kind(name=f'out{number}', inputs=(f'in{number}',)), out)


def _requantize(draft, rng, index):
  """Factors from nothing to many."""
  for number in range(32):
    source = draw_qparams(rng)
    factors = (1.0, 0.5, 0.25, 2.0, 2.0**-33, 10 ** rng.uniform(-4, 3))
    scale = source.scale / factors[rng.integers(len(factors))]
    out = draw_narrower(rng, QParams(scale, draw_zero_point(rng)))
    _of_all_values(draft, number, ops.Requantize, source, out)
  return '32 pairs of scales'


def _prelu(draft, rng, index):
  source = draw_qparams(rng)
  _all_values(draft, source, channels=256)
  for number, factor in enumerate((2.0, 1.0, 10 ** rng.uniform(-2, 2))):
    # Slopes above one are rare and allowed.
    alpha_scale = draw_scale(rng, 1e-5, 0.03)
    operator = ops.PReLU(
      name=f'out{number}',
      inputs=('in',),
      alpha=np.arange(-128, 128).astype(np.int8),
      alpha_scale=alpha_scale,
    )
    out = QParams(source.scale * factor, draw_zero_point(rng))
    draft.operator(operator, draw_narrower(rng, out))
  return f'{source}'


def _sum_prelu(draft, rng, index):
  source = draw_narrower(rng, draw_qparams(rng))
  x = np.arange(source.qmin, source.qmax + 1, dtype=np.int8)
  draft.input('in', np.tile(x[None, :, None, None], 256), source)
  for number, factor in enumerate((2.0, 1.0, 10 ** rng.uniform(-2, 1))):
    largest = 10 ** rng.uniform(-1, 0.5)
    operator = ops.SumPReLU(
      name=f'out{number}',
      inputs=('in',),
      # As trained networks have it, and any other number.
      weights=np.where(
        rng.random(256) < 0.5, -127, rng.integers(-127, 128, 256)
      ).astype(np.int8),
      weight_scale=np.float32(rng.uniform(0, largest, 256) / 127),
      rise_scale=source.scale * largest * rng.uniform(0.3, 1.5),
    )
    out = QParams(source.scale * factor, draw_zero_point(rng))
    draft.operator(operator, draw_narrower(rng, out))
  return f'{source}'


def _logistic(draft, rng, index):
  for number in range(32):
    source, out = draw_qparams(rng, 1e-5, 4.0), ops.Logistic.OUTPUT
    _of_all_values(draft, number, ops.Logistic, source, out)
  return '32 scales'


def _square_root(draft, rng, index):
  """Outputs that the greatest root fills, overfills or hardly uses; ties."""
  for number in range(32):
    # Squares have their zero at -128.
    zero_point = -128 if rng.random() < 0.6 else draw_zero_point(rng)
    if number % 4 == 0:
      # The roots of 1, 9, 25... are odd numbers of halves.
      exponent = int(rng.integers(-6, 2))
      source = QParams(4.0**exponent, zero_point)
      scale = 2.0 ** (exponent + rng.integers(1, 4))
    else:
      source = QParams(draw_scale(rng, 1e-5, 4.0), zero_point)
      factors = (1.0, 0.9, 4.0, 10 ** rng.uniform(-3, 2))
      filled = (source.scale * 255) ** 0.5 / 255
      scale = filled * factors[rng.integers(len(factors))]
    out = draw_narrower(rng, QParams(scale, draw_zero_point(rng)))
    _of_all_values(draft, number, ops.SquareRoot, source, out)
  return '32 pairs of scales'


def _near(rng, batch, size, channels):
  """Images that are nearly constant, so that their means lie near ties."""
  level = draw_int8(rng, batch, 1, 1, channels).astype(np.int64)
  noise = rng.integers(0, 2, (batch, *size, channels))
  return np.clip(level + noise, *INT8)


def _mean(draft, rng, index):
  sizes = ((7, 7), (1, 1), (2, 2), (3, 5), (4, 4), (15, 17))
  size = sizes[index % len(sizes)]
  source = draw_qparams(rng)
  x = draw_int8(rng, 8, *size, 512)
  x[:4] = _near(rng, 4, size, 512)
  x[6:] = [[[[-128]]], [[[127]]]]
  draft.input('in', x, source)
  for number, factor in enumerate((0.5, 1.0, 2.0, 10 ** rng.uniform(-3, 3))):
    out = draw_narrower(
      rng, QParams(source.scale * factor, draw_zero_point(rng))
    )
    draft.operator(ops.Mean(name=f'out{number}', inputs=('in',)), out)
  return f'size {size}, {source}'


def _pool(draft, rng, index, kind):
  size, window, strides, padding = geometry(index)
  qparams = draw_qparams(rng)
  x = draw_int8(rng, 8, *size, 64)
  x[:4] = _near(rng, 4, size, 64)
  # Averages on both sides of 0, and many ties.
  x[4:6] = draw_int8(rng, 2, *size, 64, low=-2, high=2)
  draft.input('in', x, qparams)
  operator = kind(
    name='out',
    inputs=('in',),
    window=window,
    strides=strides,
    padding=padding,
  )
  draft.operator(operator, qparams)
  return f'window {window}, strides {strides}, padding {padding}'


def _l2_normalize(draft, rng, index):
  depth = (128, 1, 3, 512, 64)[index % 5]
  zero_point = (-7, -128, 127, 0)[index % 4]
  rows = 20_000 // depth
  x = draw_int8(rng, rows, depth).astype(np.int64)
  # Short vectors, one-sided ones, and nothing but zeros.
  x[::3] = zero_point + rng.integers(-3, 4, x[::3].shape)
  x[:3] = [[zero_point], [-128], [127]]
  draft.input('in', np.clip(x, *INT8), QParams(0.1, zero_point))
  draft.operator(
    ops.L2Normalize(name='out', inputs=('in',)), ops.L2Normalize.OUTPUT
  )
  return f'depth {depth}, zero point {zero_point}'


def _movement(draft, rng, index):
  """Concat, Clamp and Reshape, which compute nothing."""
  qparams = draw_qparams(rng)
  draft.input('a', draw_int8(rng, 4, 7, 9, 24), qparams)
  draft.input('b', draw_int8(rng, 4, 7, 9, 5), qparams)
  draft.input('c', draw_int8(rng, 4, 33), qparams)
  draft.operator(ops.Concat(name='joined', inputs=('a', 'b', 'a')), qparams)
  draft.operator(ops.Concat(name='vectors', inputs=('c', 'c')), qparams)
  for number in range(4):
    limits = draw_clamp(rng, qparams)
    operator = ops.Clamp(name=f'cut{number}', inputs=('a',), limits=limits)
    draft.operator(operator, qparams)
  draft.operator(ops.Reshape(name='flat', inputs=('a',)), qparams)
  return f'{qparams}'


_MAKERS = {
  'Conv2D': convolution,
  'Conv2D depthwise': lambda *args: convolution(*args, depthwise=True),
  'Conv2D of few bits': lambda *args: _of_few_bits(convolution, *args),
  'Conv2D depthwise of few bits': lambda *args: _of_few_bits(
    convolution, *args, depthwise=True
  ),
  'Dense': dense,
  'Dense of few bits': lambda *args: _of_few_bits(dense, *args),
  'Add': _add,
  'Mul': _mul,
  'Requantize': _requantize,
  'PReLU': _prelu,
  'SumPReLU': _sum_prelu,
  'Logistic': _logistic,
  'SquareRoot': _square_root,
  'Mean': _mean,
  'MaxPool': lambda *args: _pool(*args, ops.MaxPool),
  'AveragePool': lambda *args: _pool(*args, ops.AveragePool),
  'L2Normalize': _l2_normalize,
  'Concat, Clamp, Reshape': _movement,
}
KINDS = tuple(_MAKERS)
