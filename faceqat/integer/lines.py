"""Rescalings to int8 as a line, `(x * m + b) >> s`, found and proved here.

The rules of the runtimes round twice, or round a sum of rounded terms. Yet
their result is one of 256 integers: a staircase. A line that is rounded down is
the same staircase if it is in every step from the step's first x to its last.
The host looks for such a line and checks exactly that; a rule that has none is
computed as it is written, or looked up.

The device multiplies in int32. Products of it may wrap around: only the sum
that is shifted has to fit, and is known to, as its result has 8 bits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from faceqat.integer.multipliers import Rescaling

# What remains of an int32 that is shifted by so much has 8 bits.
_SHIFT = 24
# Those of a line that passes the limits of int8, where it is cut afterwards.
_SHIFTS = (_SHIFT, 22, 20, 18)
_INT32 = 2**31
_UNBOUNDED = np.int64(2**61)
# Halvings of the interval in which a slope is sought.
_HALVINGS = 30


class Line(NamedTuple):
  """`(cut(x) * m + offset) >> 24` with `m = high + low / 2^width`.

  Attributes:
    least, greatest: [C]; beyond them the result is constant, so x is cut.
    high, low, width: [C].
    below, above: the offsets [C] where x < 0 and elsewhere.
  """

  least: np.ndarray
  greatest: np.ndarray
  high: np.ndarray
  low: np.ndarray
  width: np.ndarray
  below: np.ndarray
  above: np.ndarray


class Lines(NamedTuple):
  """`(q * slope + offset) >> shift`, cut at the limits, of int8 q.

  Attributes:
    split: slope and offset [2, C] are those of q < split and of the others.
  """

  split: int
  slope: np.ndarray
  offset: np.ndarray
  shift: int
  limits: tuple[int, int]


class Plane(NamedTuple):
  """`(q_1 * m_1 + q_2 * m_2 + offset) >> shift`, cut at the limits.

  Attributes:
    high, low: [2], with `m = high + low / 2^width`.
  """

  high: np.ndarray
  low: np.ndarray
  width: int
  offset: int
  shift: int
  limits: tuple[int, int]


def on_line(x: jax.Array, line: Line) -> jax.Array:
  """int8 [..., C] of int32 x [..., C]."""
  x = jnp.minimum(jnp.maximum(x, _int32(line.least)), _int32(line.greatest))
  offset = _int32(line.above)
  if line.least.min() < 0:
    offset = jnp.where(x < 0, _int32(line.below), offset)
  carry = (x * _int32(line.low)) >> _int32(line.width)
  return ((x * _int32(line.high) + carry + offset) >> _SHIFT).astype(jnp.int8)


def on_lines(q: jax.Array, lines: Lines) -> jax.Array:
  """int8 [..., C] of int8 q [..., C]."""
  q = q.astype(jnp.int32)
  below = q < np.int32(lines.split)
  slope, offset = (
    jnp.where(below, *map(_int32, pair)) for pair in (lines.slope, lines.offset)
  )
  return _cut((q * slope + offset) >> lines.shift, lines)


def on_plane(first: jax.Array, second: jax.Array, plane: Plane) -> jax.Array:
  """int8 of two int8 arrays of one shape."""
  pair = first.astype(jnp.int32), second.astype(jnp.int32)

  def times(factors):
    return sum(q * np.int32(factor) for q, factor in zip(pair, factors))

  total = times(plane.high) + np.int32(plane.offset)
  if plane.low.any():
    total += times(plane.low) >> plane.width
  return _cut(total >> plane.shift, plane)


def _cut(y, form: Lines | Plane):
  if form.shift < _SHIFT or form.limits != (-128, 127):
    least, greatest = np.int32(form.limits)
    y = lax.clamp(least, y, greatest)
  return y.astype(jnp.int8)


def _int32(values: np.ndarray) -> np.ndarray:
  """A scalar where all are equal."""
  values = values.astype(np.int32)
  return values[0] if (values == values[0]).all() else values


def rescale_on_host(x, rescaling: Rescaling) -> np.ndarray:
  """`arithmetic.multiply_by_quantized_multiplier` in int64."""
  shift = np.int64(rescaling.shift)
  right = np.maximum(-shift, 0)
  raised = np.int64(x) << np.maximum(shift, 0)
  high = (raised * np.int64(rescaling.q31) + (1 << 30)) >> 31
  half = (np.int64(1) << right) >> 1
  return (high + half - ((high < 0) & (right > 0))) >> right


def fit_rescaling(
  rescaling: Rescaling, zero_point: int, limits: tuple[int, int]
) -> Line | None:
  """The line of `zero_point` plus a rescaled accumulator, cut at `limits`.

  None if a channel has none, or a factor of 1/2 or more, or below 2^-24; and
  where the limits are one integer.
  """
  if limits[0] == limits[1]:
    return None
  columns = [np.atleast_1d(np.asarray(field, np.int64)) for field in rescaling]
  q31, shift, reach = np.broadcast_arrays(*columns)
  if shift.max() >= 0 or shift.min() < -23 or q31.min() < 1:
    return None
  steps = np.arange(limits[0] + 1, limits[1] + 1)[:, None]
  starts = _starts(steps - zero_point, q31, -shift)
  least = np.maximum(starts[0] - 1, -reach)
  greatest = np.maximum(np.minimum(starts[-1], reach), least)
  # |x * low| <= furthest * 2^(width - 1) < 2^31.
  furthest = np.maximum(np.maximum(-least, greatest), 1)
  width = np.log2((_INT32 - 1) / furthest).astype(np.int64) + 1
  width = np.minimum(width, _SHIFT)
  multiplier = np.ldexp(q31.astype(np.float64), width + _SHIFT - 31 + shift)
  multiplier = np.rint(multiplier).astype(np.int64)
  offsets = [
    _fit_side(starts, steps, first, last, multiplier, width)
    for first, last in (
      (least, np.minimum(greatest, -1)),
      (np.maximum(least, 0), greatest),
    )
  ]
  if any(offset is None for offset in offsets):
    return None
  high = _rounded_shift(multiplier, width)
  low = multiplier - (high << width)
  return Line(least, greatest, high, low, width, *offsets)


def _fit_side(starts, steps, first, last, multiplier, width):
  """The offset [C] of a line from `first` to `last` [C]; None if none fits."""
  # Each step is reached at its start and not before, as far as these lie here.
  x = np.clip(starts, first, last + 1)
  value = steps << (_SHIFT + width)
  low = np.where(x <= last, value, -_UNBOUNDED) - x * multiplier
  high = np.where(x > first, value - 1, _UNBOUNDED) - (x - 1) * multiplier
  # No result lies outside of the limits.
  lowest = (value[0] - (np.int64(1) << (_SHIFT + width))) - first * multiplier
  highest = (
    value[-1] + (np.int64(1) << (_SHIFT + width)) - 1 - last * multiplier
  )
  low, high = np.maximum(low.max(0), lowest), np.minimum(high.min(0), highest)
  empty = first > last
  return _multiple_between(
    np.where(empty, 0, low), np.where(empty, 0, high), width
  )


def _starts(steps, q31, right):
  """The least x that a rescaling takes to each of `steps`, [steps, C].

  For x >= 0 its two roundings together are
  `floor((x * q31 + 2^30 + 2^(right + 30)) / 2^(31 + right))`, and for x < 0
  the numerator has 2^31 less: see docs/integer_arithmetic.md.
  """
  numerator = (steps << (31 + right)) - (1 << 30) - (1 << (right + 30))
  below = -((-numerator - _INT32) // q31)
  above = -(-numerator // q31)
  return np.where(below < 0, below, np.maximum(above, 0))


def _rounded_shift(value, width):
  return (value + ((np.int64(1) << width) >> 1)) >> width


def _multiple_between(low, high, width):
  """[C], which times 2^width lies in [low, high]; None if there is none."""
  middle = (low + high) >> 1
  multiple = np.clip(
    _rounded_shift(middle, width), -((-low) >> width), high >> width
  )
  inside = (multiple << width >= low) & (multiple << width <= high)
  return multiple if inside.all() else None


def fit_table(
  table: np.ndarray, least: int, split: int, limits: tuple[int, int]
) -> Lines | None:
  """The two lines of a function of int8.

  Args:
    table: [N, C], cut at `limits`; the index is q - least.
    least: the least q that occurs.
    split: the first q of the second line.
    limits: of the results.

  Returns:
    The lines; None where a channel has none.
  """
  table = table.astype(np.int64)
  q = np.arange(least, least + len(table))[:, None]
  below = np.count_nonzero(q < split)
  for shift in _SHIFTS:
    low, high = _bounds(table, shift, limits)
    sides = [
      _search(q[part], low[part], high[part])
      for part in (slice(below), slice(below, None))
      if len(q[part])
    ]
    if all(side is not None for side in sides):
      slope, offset = map(np.stack, zip(sides[0], sides[-1]))
      return Lines(split, slope, offset, shift, limits)
  return None


def _bounds(table, shift: int, limits):
  """What a shifted sum may be at least and at most, to give the table."""
  least, greatest = limits
  low = np.where(table == least, -_INT32, table << shift)
  return low, np.where(table == greatest, _INT32, (table + 1) << shift) - 1


def _search(q, low, high):
  """(m, b), [C] each, with `low <= q * m + b <= high`; None if none is found.

  The room that is left for b is a concave function of m.
  """
  start = np.full(low.shape[1], -(2**27))
  end = -start
  columns = np.arange(start.size)
  for _ in range(_HALVINGS):
    slope = (start + end) >> 1
    below, above = low - q * slope, high - q * slope
    lowest, highest = below.argmax(0), above.argmin(0)
    least, greatest = below[lowest, columns], above[highest, columns]
    fits = least <= greatest
    if fits.all():
      return slope, (least + greatest) >> 1
    rises = lowest > highest
    start = np.where(rises & ~fits, slope, start)
    end = np.where(~rises & ~fits, slope, end)
  return None


def fit_sum(
  table: np.ndarray,
  least: tuple[int, int],
  ratios: tuple[float, float],
  limits: tuple[int, int],
) -> Plane | None:
  """The plane of a function of two int8.

  Args:
    table: [N, M], cut at `limits`; the index is (q_1 - least_1, q_2 - least_2).
    least: the least q that occur.
    ratios: about what a step of either is worth, in steps of the result.
    limits: of the results.

  Returns:
    The plane, or None.
  """
  table = table.astype(np.int64)
  first, second = (np.arange(x, x + n) for x, n in zip(least, table.shape))
  shift = int(np.floor(np.log2(_INT32 / (256 * (sum(ratios) + 1)))))
  if shift < _SHIFTS[-1]:
    return None
  low, high = _bounds(table, shift, limits)
  for width in (0, _SHIFT - 2):
    factors = np.rint(np.ldexp(ratios, shift + width)).astype(np.int64)
    total = first[:, None] * factors[0] + second * factors[1]
    # Of the sum, to which less than one is carried.
    room = (low << width) - total, ((high + 1 << width) - 1) - total
    offset = _multiple_between(
      room[0].max()[None], room[1].min()[None], np.int64(width)
    )
    if offset is not None:
      upper = _rounded_shift(factors, np.int64(width))
      lower = factors - (upper << width)
      return Plane(upper, lower, width, int(offset[0]), shift, limits)
  return None
