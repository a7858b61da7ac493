"""Double rounding written in ONNX's integer operators.

The rule of the TFLite reference kernels rounds twice: a product with a 31-bit
multiplier half up, then a division by 2^e half away from zero. Nested floors
join, so for an accumulator `x` both are one shift of a 64-bit integer:

  floor((x * q31 + 2^30 + 2^(e + 30) - [x < 0] * 2^31) / 2^(31 + e))

without the last two terms where e = 0. (Where x < 0 but the first result is
0, both choices give 0.) ONNX shifts unsigned integers only, so a multiple of
the divisor is added first and taken off after the shift.
"""

import numpy as np

from faceqat.export.onnx_graph import OnnxGraph, channel_shape
from faceqat.integer.multipliers import Rescaling
from faceqat.integer.operators import Operator
from faceqat.integer.tensors import Tensor

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1


def wrap(values, dtype) -> np.ndarray:
  """Python integers as an integer type of any width holds them."""
  bits = 8 * np.dtype(dtype).itemsize
  low = 0 if np.dtype(dtype).kind == 'u' else -(2 ** (bits - 1))
  return np.vectorize(
    lambda value: (int(value) - low) % 2**bits + low, otypes=[dtype]
  )(values)


def rounding_terms(right, raised):
  """The summands before the shift, where x >= 0 and where x < 0.

  Args:
    right: e, python integers [C] or one.
    raised: the multiple of 2^(31 + e) that keeps the sum from being negative.
  """
  right = np.asarray(right, object)
  ties = right > 0
  level = raised * 2 ** (right + 31) + 2**30
  positive = level + np.where(ties, 2 ** (right + 30), 0)
  return positive, positive - np.where(ties, 2**31, 0)


def shift_down(
  graph: OnnxGraph, value: str, bits: str, raised: str, name: str
) -> str:
  """`(value >> bits) - raised` in int32, of an int64 that is not negative."""
  word = graph.cast(value, np.uint64, f'{name}word')
  shifted = graph.node(
    'BitShift', [word, bits], f'{name}shifted', direction='RIGHT'
  )
  narrow = graph.cast(shifted, np.int32, f'{name}narrow')
  return graph.node('Sub', [narrow, raised], f'{name}scaled')


def _lift(reach, right):
  """The multiple of 2^(31 + e) to add, so that no product is negative."""
  step = 2 ** (right + 31)
  raised = -(-reach // step)
  # One for all channels where 64 bits have room for it.
  if (raised.max() * step + reach + step <= _INT64_MAX).all():
    raised = raised.max()
  return raised


def rescale(
  graph: OnnxGraph,
  value: str,
  rescaling: Rescaling,
  tensor: Tensor,
  name: str,
  *,
  factor=1,
  bias=0,
  negative=None,
  zero_point: int = 0,
) -> str:
  """Appends `(factor * value + bias) * q31 * 2^(shift - 31) + zero_point`.

  Args:
    graph: to append to.
    value: an int32 tensor, [B, C] or [B, C, H, W].
    rescaling: its reach is that of `factor * value + bias`; below 2^31 after a
      left shift.
    tensor: whose rank says how [C] broadcasts.
    name: prefix of the nodes.
    factor, bias: integers, one or [C]; folded into the constants.
    negative: bool [C], where `factor * value + bias` counts as negative; None
      looks at the values, for a `factor` above zero.
    zero_point: of the result.

  Returns:
    The name of an int32 tensor that is not yet cut to int8.
  """
  q31, shift, reach, factor, bias = np.broadcast_arrays(
    *(np.asarray(x).astype(object) for x in (*rescaling, factor, bias))
  )
  left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
  multiplier = q31 * 2**left
  raised = _lift(reach * multiplier, right)
  positive, below = rounding_terms(right, raised)
  product_bias = bias * multiplier

  def constant(role, values, dtype):
    values = channel_shape(wrap(values, dtype), tensor)
    return graph.constant(values, dtype, f'{name}{role}')

  if negative is None and (right > 0).any():
    threshold = constant('threshold', -(bias // factor), np.int32)
    less = graph.node('Less', [value, threshold], f'{name}negative')
    below = constant('below', product_bias + below, np.int64)
    above = constant('above', product_bias + positive, np.int64)
    terms = graph.node('Where', [less, below, above], f'{name}terms')
  else:
    chosen = np.where(False if negative is None else negative, below, positive)
    terms = constant('terms', product_bias + chosen, np.int64)
  wide = graph.cast(value, np.int64, f'{name}wide')
  multiplier = constant('multiplier', factor * multiplier, np.int64)
  product = graph.node('Mul', [wide, multiplier], f'{name}product')
  total = graph.node('Add', [product, terms], f'{name}total')
  bits = constant('bits', right + 31, np.uint64)
  offset = constant('offset', raised - zero_point, np.int32)
  return shift_down(graph, total, bits, offset, name)


def finish(graph: OnnxGraph, operator: Operator, scaled: str, output: Tensor):
  """Appends the cut of an operator's int32 result to uint8 `q + 128`."""
  name = f'{output.name}:'
  limits = [graph.constant(x, np.int32) for x in operator.limits_of(output)]
  cut = graph.node('Clip', [scaled, *limits], f'{name}cut')
  offset = graph.constant(128, np.int32)
  value = graph.node('Add', [cut, offset], f'{name}byte')
  graph.cast(value, np.uint8, f'{name}nchw')


def finish_rescaled(
  graph: OnnxGraph,
  operator: Operator,
  value: str,
  inputs,
  output: Tensor,
  bias=0,
):
  """Appends the one rescaling of an operator and its cut to int8."""
  (rescaling,) = operator.rescalings(inputs, output)
  scaled = rescale(
    graph,
    value,
    rescaling,
    output,
    f'{operator.name}:',
    bias=bias,
    zero_point=output.zero_point,
  )
  finish(graph, operator, scaled, output)


# Newton's steps toward 1 / sqrt(x), in fixed point with 3 integer bits.
_NEWTON_STEPS = 5
_ONE_F3 = 2**28
_HALF_SQRT_2 = 1518500250  # sqrt(1/2) in 31 fractional bits.


class _Int64Nodes:
  """Appends int64 nodes, numbered; python integers become constants."""

  def __init__(self, graph: OnnxGraph, name: str):
    self.graph = graph
    self.name = name
    self.count = 0

  def __call__(self, kind: str, *inputs, **attributes) -> str:
    self.count += 1
    inputs = [
      self.graph.constant(x, np.int64) if isinstance(x, int) else x
      for x in inputs
    ]
    name = f'{self.name}{kind.lower()}_{self.count}'
    return self.graph.node(kind, inputs, name, **attributes)

  def high(self, a, b) -> str:
    """Rounding doubling high multiply of what is not negative."""
    product = self('Mul', a, b)
    return self('Div', self('Add', product, 2**30), 2**31)

  def raise_saturating(self, a, exponent: int) -> str:
    return self('Min', self('Mul', a, 2**exponent), _INT32_MAX)

  def look_up(self, role: str, values, index: str, dtype=np.int64) -> str:
    table = self.graph.constant(
      wrap(values, dtype), dtype, f'{self.name}{role}_table'
    )
    return self('Gather', table, index)


def l2_normalize(graph: OnnxGraph, value: str, zero_point: int, name: str):
  """Appends the division of uint8 [B, C] by its norm; int32 at scale 1/128.

  The square root's exponent comes from counting powers of 4 below the sum of
  squares, and everything that depends on it from tables by that count.
  """
  run = _Int64Nodes(graph, name)
  v = graph.cast(value, np.int64, f'{name}wide')
  v = run('Sub', v, zero_point)
  axes = graph.constant([1], np.int64, f'{name}axes')
  squares = run('ReduceSum', run('Mul', v, v), axes, keepdims=1)
  powers = graph.constant(
    [2 ** (29 - 2 * i) for i in range(15)], np.int64, f'{name}powers'
  )
  below = graph.cast(run('Less', squares, powers), np.int64, f'{name}below')
  # 0 where the sum is 2^29 or more, 15 where it is below 2.
  index = run('ReduceSum', below, axes, keepdims=1)
  indices = range(16)

  raised = run.look_up('up', [4 ** max(i - 1, 0) for i in indices], index)
  lowered = run.look_up('down', [8, *[2] * 15], index)
  argument = run('Div', run('Mul', squares, raised), lowered)
  half_argument = run('Div', run('Add', argument, 1), 2)
  x = _ONE_F3
  for _ in range(_NEWTON_STEPS):
    cube = run.raise_saturating(run.high(run.high(x, x), x), 6)
    x = run('Sub', run.high(3 * _ONE_F3 // 2, x), run.high(half_argument, cube))
    x = run.raise_saturating(x, 3)
  q31 = run.high(x, _HALF_SQRT_2)
  left = run.look_up('left', [2 ** max(i - 12, 0) for i in indices], index)
  one = run('Less', squares, 2)
  q31 = run('Where', one, _INT32_MAX, run('Mul', q31, left))

  # The output's scale, 2^-7, makes the shift 5 - i, to the left at most 7.
  raised = run.look_up(
    'raise', [2 ** min(max(i - 5, 0), 7) for i in indices], index
  )
  product = run('Mul', v, run('Mul', q31, raised))
  right = [max(5 - i, 0) for i in indices]
  offset = 2**15  # |v| * 2^7 is less.
  positive, negative = rounding_terms(right, offset)
  terms = run(
    'Where',
    run('Less', v, 0),
    run.look_up('negative', negative, index),
    run.look_up('positive', positive, index),
  )
  bits = run.look_up('bits', [31 + e for e in right], index, np.uint64)
  total = run('Add', product, terms)
  offset = graph.constant(offset, np.int32)
  return shift_down(graph, total, bits, offset, name)
