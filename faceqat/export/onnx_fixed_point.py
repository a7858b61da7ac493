"""Double rounding written in ONNX's 32-bit integer operators.

The rule of the TFLite reference kernels rounds twice: a product with a 31-bit
multiplier half up, then a division by 2^e half away from zero. Nested floors
join, so for an accumulator `x` both are one floor of a long integer:

  floor((x * q31 + 2^30 + 2^(e + 30) - [x < 0] * 2^31) / 2^(31 + e))

without the last two terms where e = 0. (Where x < 0 but the first result is
0, both choices give 0.)

The long integer is never formed. As in `integer/arithmetic.py` its factors are
cut into limbs, each as wide as the bound of `x` allows, and the product is
carried from one to the next. So no value needs more than 32 bits.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from faceqat.export.onnx_graph import OnnxGraph, channel_shape
from faceqat.integer.multipliers import Rescaling
from faceqat.integer.operators import Operator
from faceqat.integer.tensors import Tensor

# A value of more bits is cut in two: with limbs that narrow for the multiplier
# there would be more of them.
_ONE_LIMB_BITS = 20
# What the divisor of one division, a power of two in int32, can be.
_WIDEST_SHIFT = 30
# Bits that a float32 holds.
_FLOAT32_BITS = 24


class Term(NamedTuple):
  """A summand of a long sum: an int32 tensor times constants.

  Attributes:
    value: the tensor's name.
    multiplier: python integers of any size, one or [C].
    reach: largest magnitudes of the tensor, one or [C].
  """

  value: str
  multiplier: np.ndarray | int
  reach: np.ndarray | int


def _integers(values) -> np.ndarray:
  """Python integers, [1] or [C], which do not overflow."""
  return np.atleast_1d(values).astype(object)


def _greatest(values) -> int:
  return int(np.max(values))


def shift_down(graph: OnnxGraph, value: str, bits: int, name: str) -> str:
  """Appends `floor(value / 2^bits)` of an int32, for bits in [0, 30].

  The bits that the division drops are cleared before it. So it is exact, below
  zero too, and also where a runtime divides in float32, provided that no more
  than 24 bits are left.
  """
  if not bits:
    return value
  mask = graph.constant(-(2**bits), np.int32)
  kept = graph.node('BitwiseAnd', [value, mask], f'{name}kept')
  power = graph.constant(2**bits, np.int32)
  return graph.node('Div', [kept, power], f'{name}shifted')


def _add_products(
  graph: OnnxGraph,
  terms: Sequence[Term],
  constant: np.ndarray,
  carry: str | None,
  tensor: Tensor,
  name: str,
) -> str | None:
  """Appends the sum of products that fit int32; None if there is none."""

  def channels(values, role):
    values = channel_shape(values.astype(np.int64), tensor)
    return graph.constant(values, np.int32, f'{name}{role}')

  parts = [carry] if carry else []
  for number, (value, multiplier, _) in enumerate(terms):
    if multiplier.any():
      factor = channels(multiplier, f'factor_{number}')
      product = f'{name}product_{number}'
      parts.append(graph.node('Mul', [value, factor], product))
  if parts and constant.any():
    parts.append(channels(constant, 'constant'))
  for number in range(1, len(parts)):
    pair = parts[number - 1 : number + 1]
    parts[number] = graph.node('Add', pair, f'{name}sum_{number}')
  return parts[-1] if parts else None


def _bits_to_drop(terms: Sequence[Term], constant: np.ndarray, bits: int):
  """The fewest low bits to carry over, so that what is left fits int32."""
  bound = abs(constant) + sum(x.reach * abs(x.multiplier) for x in terms)
  # A multiplier below zero is rounded away from it, and its carry is positive.
  slack = 2 + sum(2 * x.reach * (x.multiplier < 0) for x in terms)
  fits = (
    drop
    for drop in range(max(bits - _WIDEST_SHIFT, 0), bits + 1)
    if _greatest((bound >> drop) + slack) < 2**31
  )
  drop = next(fits)
  # More bits than a float32 has would be left to divide: divide none of them.
  return bits if bits - drop < 31 - _FLOAT32_BITS else drop


def floor_sum(
  graph: OnnxGraph,
  terms: Sequence[Term],
  constant,
  bits: int,
  tensor: Tensor,
  name: str,
) -> str:
  """Appends `floor((sum(value * multiplier) + constant) / 2^bits)` in int32.

  It is long multiplication. Each level adds the products with one limb of all
  multipliers, that of the constant, and the carry, and drops the limb's bits.

  Args:
    graph: to append to.
    terms: of the sum.
    constant: python integers of any size, one or [C].
    bits: at least 31.
    tensor: whose rank says how [C] broadcasts.
    name: prefix of the nodes.

  Returns:
    The name of an int32 tensor; the result has to fit.
  """
  constant = _integers(constant)
  terms = [Term(x, _integers(m), _integers(reach)) for x, m, reach in terms]
  drop = _bits_to_drop(terms, constant, bits)
  reach = sum(_greatest(term.reach) for term in terms)
  # A limb's products, constant and carry are below (reach + 1) * 2^width.
  width = 31 - (reach + 1).bit_length()
  limbs = -(-drop // width)
  edges = [drop * i // limbs for i in range(limbs)] + [drop]
  carry = None
  for low, high in itertools.pairwise(edges):
    limb = 2 ** (high - low)
    level = f'{name}bit_{low}_'
    cut = [x._replace(multiplier=(x.multiplier >> low) % limb) for x in terms]
    total = _add_products(
      graph, cut, (constant >> low) % limb, carry, tensor, level
    )
    carry = total and shift_down(graph, total, high - low, level)
  cut = [x._replace(multiplier=x.multiplier >> drop) for x in terms]
  if not carry and not any(x.multiplier.any() for x in cut):
    # No factor is large enough to count; the shape is still the value's.
    zero = graph.constant(0, np.int32)
    carry = graph.node('Mul', [terms[0].value, zero], f'{name}nothing')
  level = f'{name}bit_{drop}_'
  total = _add_products(graph, cut, constant >> drop, carry, tensor, level)
  return shift_down(graph, total, bits - drop, level)


class Factors(NamedTuple):
  """Rescalings with one divisor, python integers.

  Attributes:
    bits: of the divisor 2^bits.
    multipliers: of each rescaling, one or [C].
    nudges: what rounds the product with it.
    signs: what to take off that where the product is negative.
  """

  bits: int
  multipliers: list[np.ndarray]
  nudges: list[np.ndarray]
  signs: list[np.ndarray]


def common_factors(*rescalings: Rescaling) -> Factors:
  """The rule of this module for several factors, by their largest divisor."""
  rights = [_integers(np.maximum(-x.shift, 0)) for x in rescalings]
  bits = 31 + max(map(_greatest, rights))
  raises = [2 ** (bits - 31 - right) for right in rights]
  twice = [right > 0 for right in rights]
  return Factors(
    bits,
    [
      _integers(x.q31) * 2 ** _integers(np.maximum(x.shift, 0)) * raised
      for x, raised in zip(rescalings, raises)
    ],
    [2**30 * raised + 2 ** (bits - 1) * x for raised, x in zip(raises, twice)],
    [2**31 * raised * x for raised, x in zip(raises, twice)],
  )


def sign(graph: OnnxGraph, value: str, name: str) -> str:
  """Appends -1 where an int32 is negative, else 0."""
  limits = [graph.constant(x, np.int32) for x in (-1, 0)]
  return graph.node('Clip', [value, *limits], f'{name}sign')


def _cut_to(graph, value: str, tensor: Tensor, low, high, reach, name: str):
  """Appends the cut to [low, high], where it cuts; the new value and reach."""
  for kind, limits, cuts in (
    ('Max', low, low > -reach),
    ('Min', high, high < reach),
  ):
    if cuts.any():
      limits = channel_shape(limits.astype(np.int64), tensor)
      limit = graph.constant(limits, np.int32, f'{name}{kind}_limit')
      value = graph.node(kind, [value, limit], f'{name}{kind}')
  return value, np.maximum(abs(low), abs(high))


def _limbs(graph: OnnxGraph, value: str, multiplier, reach, name: str):
  """The terms of `value * multiplier`: one, or two of half the bits each."""
  bits = _greatest(reach).bit_length()
  if bits <= _ONE_LIMB_BITS:
    return [Term(value, multiplier, reach)]
  half = bits // 2
  mask = graph.constant(2**half - 1, np.int32)
  low = graph.node('BitwiseAnd', [value, mask], f'{name}low')
  high = shift_down(graph, value, half, f'{name}high_')
  return [
    Term(low, multiplier, 2**half - 1),
    Term(high, multiplier * 2**half, (reach >> half) + 1),
  ]


def rescale(
  graph: OnnxGraph,
  value: str,
  rescaling: Rescaling,
  tensor: Tensor,
  name: str,
  *,
  factor: int = 1,
  limits: tuple[int, int] | None = None,
  zero_point: int = 0,
) -> str:
  """Appends `value * factor * q31 * 2^(shift - 31) + zero_point`.

  Args:
    graph: to append to.
    value: an int32 tensor, [B, C] or [B, C, H, W].
    rescaling: its reach is that of `value * factor`.
    tensor: whose rank says how [C] broadcasts.
    name: prefix of the nodes.
    factor: above zero.
    limits: integers at which the result will be cut, so that values far beyond
      them need not be told apart; they need not be reached exactly.
    zero_point: of the result.

  Returns:
    The name of an int32 tensor that is not yet cut.
  """
  bits, (multiplier,), (nudge,), (negative,) = common_factors(rescaling)
  multiplier, reach = np.broadcast_arrays(
    multiplier * factor, _integers(rescaling.reach) // factor
  )
  low, high = -reach, reach
  if limits is not None:
    least, greatest = (limit - zero_point for limit in limits)
    unit = np.maximum(multiplier, 1)
    # Rounding moves by less than one step.
    low = ((least - 1) * 2**bits // unit) if least else 0 * reach
    high = -(-(greatest + 1) * 2**bits // unit)
  low, high = (np.maximum(np.minimum(x, reach), -reach) for x in (low, high))
  value, reach = _cut_to(graph, value, tensor, low, high, reach, name)
  terms = _limbs(graph, value, multiplier, reach, name)
  if negative.any() and (low < 0).any():
    terms.append(Term(sign(graph, value, name), negative, 1))
  constant = nudge + zero_point * 2**bits
  return floor_sum(graph, terms, constant, bits, tensor, name)


def finish(graph: OnnxGraph, operator: Operator, scaled: str, output: Tensor):
  """Appends the cut of an operator's int32 `q + 128` to uint8."""
  name = f'{output.name}:'
  limits = [
    graph.constant(x + 128, np.int32) for x in operator.limits_of(output)
  ]
  cut = graph.node('Clip', [scaled, *limits], f'{name}cut')
  graph.cast(cut, np.uint8, f'{name}nchw')


def finish_rescaled(
  graph: OnnxGraph,
  operator: Operator,
  value: str,
  inputs,
  output: Tensor,
  bias=0,
):
  """Appends the last rescaling, of `value + bias`, and its cut to uint8."""
  *_, rescaling = operator.rescalings(inputs, output)
  name = f'{operator.name}:'
  if np.any(bias):
    bias = graph.constant(channel_shape(bias, output), np.int32, f'{name}bias')
    value = graph.node('Add', [value, bias], f'{name}biased')
  low, high = operator.limits_of(output)
  scaled = rescale(
    graph,
    value,
    rescaling,
    output,
    name,
    limits=(low + 128, high + 128),
    zero_point=output.zero_point + 128,
  )
  finish(graph, operator, scaled, output)
