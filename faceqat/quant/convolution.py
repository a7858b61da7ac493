"""Convolution in the form that the backend runs fastest.

XLA's CPU backend has no fast path for grouped convolutions: a depthwise layer
trains several times faster as shifted multiply-adds. All forms compute the same
float32 sums, in another order.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from faceqat.quant.reductions import channel_sums

Padding = tuple[tuple[int, int], tuple[int, int]]

# With more taps the unrolled sums compile slowly.
_MAX_TAPS = 25


def explicit_padding(
  padding: str | Padding,
  size: tuple[int, int],
  window: tuple[int, int],
  strides: tuple[int, int],
) -> Padding:
  """Turns 'SAME' or 'VALID' into ((top, bottom), (left, right)).

  An odd pixel goes to the bottom and right, as in TensorFlow and XLA.

    >>> explicit_padding('SAME', (112, 112), (3, 3), (2, 2))
    ((0, 1), (0, 1))

  Args:
    padding: by name, or explicit already.
    size: (H, W) of the input.
    window: (kh, kw).
    strides: (vertical, horizontal).
  """
  if isinstance(padding, str):
    sides = lax.padtype_to_pads(size, window, strides, padding)
    return tuple((int(low), int(high)) for low, high in sides)
  return padding


def conv2d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  strides: tuple[int, int] = (1, 1),
  padding: Padding,
  depthwise: bool = False,
  backend: str | None = None,
) -> jax.Array:
  """Convolves images with a kernel, dense or depthwise.

  Args:
    x: [B, H, W, I] float32 or bfloat16.
    kernel: [kh, kw, I, O], or [kh, kw, 1, I] if depthwise; x's dtype.
    strides: (vertical, horizontal).
    padding: ((top, bottom), (left, right)) rows and columns of zeros.
    depthwise: each channel is convolved with its own kernel.
    backend: 'cpu', 'gpu' or 'tpu', for its fastest form; None: JAX's own.

  Returns:
    [B, H', W', O] in x's dtype, H' = (H + top + bottom - kh) // stride + 1.

  Raises:
    ValueError: if shapes, padding and strides do not fit together.
  """
  _check(x, kernel, strides, padding, depthwise)
  strides = tuple(strides)
  padding = tuple((low, high) for low, high in padding)
  if (backend or jax.default_backend()) == 'cpu':
    window = kernel.shape[:2]
    unpadded = padding == ((0, 0), (0, 0))
    if depthwise and unpadded and window == x.shape[1:3]:
      return _global_depthwise(x, kernel)
    if depthwise and math.prod(window) <= _MAX_TAPS:
      return _shifted_depthwise(x, kernel, strides, padding)
    if not depthwise and unpadded and window == strides == (1, 1):
      return _pointwise(x, kernel)
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=x.shape[-1] if depthwise else 1,
  )


def _check(x, kernel, strides, padding, depthwise):
  if x.ndim != 4 or kernel.ndim != 4:
    raise ValueError(
      f'x has shape {x.shape} and kernel {kernel.shape}; a convolution wants '
      '[B, H, W, I] and [kh, kw, I, O]'
    )
  if len(strides) != 2 or min(strides) < 1:
    raise ValueError(f'strides are {strides}; give two positive integers')
  sides = np.array(padding)
  if sides.shape != (2, 2) or sides.dtype.kind != 'i' or sides.min() < 0:
    raise ValueError(
      f'padding is {padding!r}; give ((top, bottom), (left, right)), none '
      "negative (explicit_padding computes them for 'SAME')"
    )
  channels = x.shape[-1]
  want = (1, channels) if depthwise else (channels, kernel.shape[-1])
  if kernel.shape[2:] != want:
    raise ValueError(
      f'kernel has shape {kernel.shape} for x of shape {x.shape}; its last '
      f'two axes must be {want}'
    )
  size = np.add(x.shape[1:3], sides.sum(1))
  if np.any(size < kernel.shape[:2]):
    raise ValueError(
      f'x of shape {x.shape}, padded to {size}, is smaller than the kernel '
      f'{kernel.shape[:2]}; use a larger image or padding'
    )


def _global_depthwise(x, kernel):
  product = x.astype(jnp.float32) * kernel[:, :, 0].astype(jnp.float32)
  return jnp.sum(product, axis=(1, 2), keepdims=True).astype(x.dtype)


# Pointwise: one matrix product.


def _pointwise(x, kernel):
  # All in matrices: XLA then holds x in memory once for both passes, and does
  # not transpose it there.
  y = _matrix_product(x.reshape(-1, x.shape[3]), kernel[0, 0])
  return y.reshape(*x.shape[:3], -1)


@jax.custom_vjp
def _matrix_product(x, kernel):
  return _contract(x, kernel, 1, 0).astype(x.dtype)


def _matrix_product_fwd(x, kernel):
  return _matrix_product(x, kernel), (x, kernel)


def _matrix_product_bwd(residuals, g):
  # Without the barrier XLA computes g anew inside each of the two products.
  x, kernel, g = lax.optimization_barrier((*residuals, g))
  dx = _contract(g, kernel, 1, 1)
  # XLA transposes the first operand: it should be the narrower one.
  if x.shape[1] <= g.shape[1]:
    dkernel = _contract(x, g, 0, 0)
  else:
    dkernel = lax.optimization_barrier(_contract(g, x, 0, 0)).T
  return dx.astype(x.dtype), dkernel.astype(kernel.dtype)


_matrix_product.defvjp(_matrix_product_fwd, _matrix_product_bwd)


def _contract(a, b, a_axis, b_axis):
  """Sums products of two matrices over an axis of each, in float32."""
  return lax.dot_general(
    a,
    b,
    (((a_axis,), (b_axis,)), ((), ())),
    preferred_element_type=jnp.float32,
  )


# Depthwise: a sum of shifted slices, one per tap, times a channel vector. What
# is bfloat16 is widened once, which is exact: XLA would do it for every tap.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted_depthwise(x, kernel, strides, padding):
  return _shifted_depthwise_fwd(x, kernel, strides, padding)[0]


def _shifted_depthwise_fwd(x, kernel, strides, padding):
  size = _output_size(x, kernel, strides, padding)
  padded = _pad(x.astype(jnp.float32), padding)
  kernel = _materialized(kernel)
  terms = (
    _slice(padded, tap, size, strides) * _weight(kernel, tap)
    for tap in _taps(kernel)
  )
  return sum(terms).astype(x.dtype), (x, kernel)


def _shifted_depthwise_bwd(strides, padding, residuals, g):
  x, kernel = residuals
  g = lax.optimization_barrier(g.astype(jnp.float32))
  dx = _input_gradient(g, kernel, x.shape[1:3], strides, padding)
  dkernel = _kernel_gradient(x.astype(jnp.float32), g, kernel, strides, padding)
  return dx.astype(x.dtype), dkernel.astype(kernel.dtype)


_shifted_depthwise.defvjp(_shifted_depthwise_fwd, _shifted_depthwise_bwd)


def _input_gradient(g, kernel, size, strides, padding):
  """Returns dx: one such sum over g for each stride phase, interleaved.

  Input row s * i + r meets tap a of output row i + e, e = (r + top - a) / s,
  where that is whole: each phase r has its own taps and shifts.
  """
  shifts = [
    [
      [
        ((phase + low - tap) // stride, tap)
        for tap in range(taps)
        if (phase + low - tap) % stride == 0
      ]
      for phase in range(stride)
    ]
    for (low, _), taps, stride in zip(padding, kernel.shape, strides)
  ]
  count = tuple(math.ceil(n / stride) for n, stride in zip(size, strides))
  # Pad g so that the shifts of all phases are slices of one array.
  margins, first = [], []
  for axis in range(2):
    reach = [shift for phase in shifts[axis] for shift, _ in phase]
    low, high = min(reach), max(reach)
    margins.append((-low, count[axis] + high - g.shape[1 + axis]))
    first.append(low)
  padded = _pad(g, margins)

  def phase_sum(rows, columns):
    terms = [
      _slice(padded, (i - first[0], j - first[1]), count)
      * _weight(kernel, (a, b))
      for (i, a), (j, b) in itertools.product(rows, columns)
    ]
    return (
      sum(terms)
      if terms
      else jnp.zeros((g.shape[0], *count, g.shape[3]), jnp.float32)
    )

  phases = [[phase_sum(r, c) for c in shifts[1]] for r in shifts[0]]
  if strides == (1, 1):
    return phases[0][0]
  stacked = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
  full = (count[0] * strides[0], count[1] * strides[1])
  dx = stacked.reshape(g.shape[0], *full, g.shape[3])
  return dx[:, : size[0], : size[1]]


def _kernel_gradient(x, g, kernel, strides, padding):
  """Returns dkernel; all taps' products in one pass over x and g."""
  padded = _pad(x, padding)
  products = [
    _slice(padded, tap, g.shape[1:3], strides) * g for tap in _taps(kernel)
  ]
  return jnp.stack(channel_sums(*products)).reshape(kernel.shape)


def _materialized(kernel):
  """The same kernel, held in memory.

  XLA's CPU backend would fuse the kernel's quantization into the sum over the
  taps and compute it for every pixel. It has dropped all barriers by then, but
  does not repeat an expensive remainder; that by infinity is the number itself.
  """
  return lax.rem(kernel, jnp.full_like(kernel, jnp.inf))


def _taps(kernel):
  return itertools.product(range(kernel.shape[0]), range(kernel.shape[1]))


def _weight(kernel, tap):
  return kernel[tap[0], tap[1], 0].astype(jnp.float32)


def _pad(x, padding):
  """Pads rows and columns with zeros (crops where negative), materialised."""
  if all(side == (0, 0) for side in padding):
    return x
  config = ((0, 0, 0), *((*side, 0) for side in padding), (0, 0, 0))
  # Without the barrier XLA pads anew inside every slice.
  return lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), config))


def _slice(padded, start, size, strides=(1, 1)):
  stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, size, strides)]
  rows, columns = (slice(a, b, s) for a, b, s in zip(start, stop, strides))
  return padded[:, rows, columns]


def _output_size(x, kernel, strides, padding):
  return tuple(
    (n + low + high - k) // s + 1
    for n, (low, high), k, s in zip(
      x.shape[1:3], padding, kernel.shape, strides
    )
  )
