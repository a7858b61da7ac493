"""The division of an embedding by its norm, in ONNX's 32-bit integers.

It is `inv_sqrt_multiplier` of `integer/arithmetic.py`: five Newton steps toward
`1 / sqrt(x)` in fixed point with 3 integer bits, "F3".
"""

import numpy as np

from faceqat.export.onnx_fixed_point import shift_down, sign
from faceqat.export.onnx_graph import OnnxGraph

_NEWTON_STEPS = 5
_ONE_F3 = 2**28
_HALF_SQRT_2 = 1518500250  # sqrt(1/2) in 31 fractional bits.
_INT32_MAX = 2**31 - 1


class _Nodes:
  """Appends int32 nodes, numbered; python integers become constants."""

  def __init__(self, graph: OnnxGraph, name: str):
    self.graph = graph
    self.name = name
    self.count = 0

  def _next(self, kind: str) -> str:
    self.count += 1
    return f'{self.name}{kind.lower()}_{self.count}'

  def __call__(self, kind: str, *inputs, **attributes) -> str:
    inputs = [
      self.graph.constant(x, np.int32) if isinstance(x, int) else x
      for x in inputs
    ]
    return self.graph.node(kind, inputs, self._next(kind), **attributes)

  def sum_over_channels(self, value: str) -> str:
    axes = self.graph.constant([1], np.int64, f'{self.name}axes')
    return self.graph.node(
      'ReduceSum', [value, axes], self._next('sum'), keepdims=1
    )

  def truth(self, kind: str, *inputs) -> str:
    """1 where a comparison holds, else 0."""
    return self.graph.cast(self(kind, *inputs), np.int32, self._next('truth'))

  def shift_down(self, value, bits: int):
    if isinstance(value, int):
      return value >> bits
    return shift_down(self.graph, value, bits, f'{self._next("shift")}_')

  def look_up(self, values, index: str) -> str:
    table = self.graph.constant(values, np.int32, self._next('table'))
    return self('Gather', table, index)

  def high(self, a: str, b: str) -> str:
    """`floor((a * b + 2^30) / 2^31)` for |a| < 2^30 and 0 <= b < 2^31.

    As `_srdhm_within` of `integer/arithmetic.py`, where no limb overflows.
    """
    a_high = self.shift_down(self('Add', a, 2**15), 16)
    a_low = self('Sub', a, self('Mul', a_high, 2**16))
    b_high = self.shift_down(b, 16)
    b_low = self('BitwiseAnd', b, 2**16 - 1)
    low = self.shift_down(self('Mul', a_low, b_low), 16)
    middle = self('Add', self('Mul', a_high, b_low), self('Mul', a_low, b_high))
    middle = self('Add', self('Add', middle, low), 2**14)
    top = self('Mul', self('Mul', a_high, b_high), 2)
    return self('Add', top, self.shift_down(middle, 15))

  def shift_up_6_saturating(self, value: str) -> str:
    """`value * 2^6` of what is not negative, at most 2^31 - 1."""
    limit = _INT32_MAX >> 6
    cut = self('Mul', self('Min', value, limit), 2**6)
    over = self('Mul', self.truth('Greater', value, limit), 2**6 - 1)
    return self('Add', cut, over)


def _half_argument(run: _Nodes, squares: str, pairs: str) -> str:
  """F3 of half of `squares` times or over a power of 4, in [1/8, 1/2).

  `pairs` counts the powers of 4 in it that are missing, from 0, where it is
  divided by 4, over 1, where it stays.
  """
  # ((x << 2 (pairs - 1)) >> 1 + 1) >> 1, without a division of what is small.
  small = run.look_up([0, 0, *(4**i for i in range(14))], pairs)
  parts = [run('Mul', squares, small)]
  for index, bits in ((0, 3), (1, 1)):
    argument = run.shift_down(squares, bits)
    half = run.shift_down(run('Add', argument, 1), 1)
    chosen = run.look_up([int(i == index) for i in range(16)], pairs)
    parts.append(run('Mul', half, chosen))
  return run('Add', run('Add', *parts[:2]), parts[2])


def _inverse_root(run: _Nodes, half_argument: str) -> str:
  """`1 / sqrt(2 x)` in F3, by Newton's method."""
  constants = (_ONE_F3, 3 * _ONE_F3 // 2)
  x, three_halves = (run.graph.constant(c, np.int32) for c in constants)
  for _ in range(_NEWTON_STEPS):
    cube = run.shift_up_6_saturating(run.high(run.high(x, x), x))
    rise = run('Sub', run.high(three_halves, x), run.high(half_argument, cube))
    x = run('Mul', rise, 2**3)  # At most about 3, so it does not saturate.
  return x


def l2_normalize(graph: OnnxGraph, value: str, zero_point: int, name: str):
  """Appends the division of uint8 [B, C] by its norm; int32 at scale 1/128.

  Args:
    graph: to append to.
    value: the name of the bytes.
    zero_point: the byte that stands for 0.
    name: prefix of the nodes.
  """
  run = _Nodes(graph, name)
  v = run('Sub', graph.cast(value, np.int32, f'{name}wide'), zero_point)
  squares = run.sum_over_channels(run('Mul', v, v))
  powers = [2 ** (29 - 2 * i) for i in range(15)]
  powers = graph.constant(powers, np.int32, f'{name}powers')
  # 0 where the sum is 2^29 or more, 15 where it is below 2.
  pairs = run.sum_over_channels(run.truth('Less', squares, powers))

  x = _inverse_root(run, _half_argument(run, squares, pairs))
  q31 = run.high(x, graph.constant(_HALF_SQRT_2, np.int32))
  left = [2 ** max(i - 12, 0) for i in range(15)]
  q31 = run('Mul', q31, run.look_up([*left, 0], pairs))
  # 1 / sqrt(1) is a multiplier below 1 all the same, the nearest.
  q31 = run('Add', q31, run.look_up([*[0] * 15, _INT32_MAX], pairs))

  # The output's scale, 2^-7, makes the shift 5 - i, to the left at most 7.
  raised = [2 ** min(max(i - 5, 0), 7) for i in range(16)]
  scaled = run.high(run('Mul', v, run.look_up(raised, pairs)), q31)
  powers = [2 ** max(5 - i, 0) for i in range(16)]
  half = run.look_up([power // 2 for power in powers], pairs)
  twice = run.look_up([int(power > 1) for power in powers], pairs)
  down = run('Mul', sign(graph, v, name), twice)
  nudged = run('Add', run('Add', scaled, half), down)
  kept = run('BitwiseAnd', nudged, run.look_up([-x for x in powers], pairs))
  return run('Div', kept, run.look_up(powers, pairs))
