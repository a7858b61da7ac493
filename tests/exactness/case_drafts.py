"""A case of the exactness tests, and what its parameters are drawn from."""

import dataclasses

import numpy as np

from faceqat.integer import accumulators
from faceqat.integer import operators as ops
from faceqat.integer.tensors import QParams, Tensor

NO_PADDING = ((0, 0), (0, 0))
INT8 = (-128, 127)


@dataclasses.dataclass(frozen=True)
class Case:
  """One graph and what goes in.

  Attributes:
    label: what is hostile about it.
    tensors: all of them, by name.
    operators: each reads inputs of the graph.
    inputs, outputs: names of tensors.
    arrays: int8 [B, *shape] for each input.
  """

  label: str
  tensors: dict[str, Tensor]
  operators: tuple[ops.Operator, ...]
  inputs: tuple[str, ...]
  outputs: tuple[str, ...]
  arrays: tuple[np.ndarray, ...]

  @property
  def count(self) -> int:
    """Integers among all outputs."""
    sizes = [np.prod(self.tensors[name].shape) for name in self.outputs]
    return len(self.arrays[0]) * int(sum(sizes))

  def values_of(self, operator: ops.Operator) -> list[np.ndarray]:
    """What an operator of the case reads."""
    by_name = dict(zip(self.inputs, self.arrays))
    return [by_name[name] for name in operator.inputs]

  def tensors_of(self, operator: ops.Operator) -> list[Tensor]:
    return [self.tensors[name] for name in operator.inputs]


class Draft:
  """A case being put together; every operator is checked as it comes."""

  def __init__(self):
    self.tensors = {}
    self.operators = []
    self.arrays = {}

  def input(self, name: str, array, qparams: QParams) -> Tensor:
    tensor = _tensor(name, array.shape[1:], qparams)
    self.tensors[name] = tensor
    self.arrays[name] = np.ascontiguousarray(array, np.int8)
    return tensor

  def operator(self, operator: ops.Operator, qparams: QParams):
    inputs = [self.tensors[name] for name in operator.inputs]
    output = _tensor(operator.name, operator.output_shape(inputs), qparams)
    operator.check(inputs, output)
    accumulators.check_operator(operator, inputs, output)
    self.tensors[operator.name] = output
    self.operators.append(operator)

  def finish(self, label: str) -> Case:
    return Case(
      label=label,
      tensors=self.tensors,
      operators=tuple(self.operators),
      inputs=tuple(self.arrays),
      outputs=tuple(operator.output for operator in self.operators),
      arrays=tuple(self.arrays.values()),
    )


def _tensor(name, shape, qparams: QParams) -> Tensor:
  return Tensor(name, tuple(map(int, shape)), **dataclasses.asdict(qparams))


def draw_int8(rng, *shape, low=-128, high=127):
  return rng.integers(low, high, shape, np.int8, endpoint=True)


def draw_zero_point(rng) -> int:
  return int(rng.choice([-128, 127, 0, rng.integers(-128, 128)]))


def draw_scale(rng, low=1e-3, high=1.0) -> float:
  """A power of two (which makes ties) or any number."""
  exponent = rng.uniform(np.log2(low), np.log2(high))
  if rng.random() < 0.4:
    exponent = round(exponent)
  return float(np.float32(2.0**exponent))


def draw_qparams(rng, low=1e-3, high=1.0) -> QParams:
  return QParams(draw_scale(rng, low, high), draw_zero_point(rng))


def draw_narrower(rng, qparams: QParams) -> QParams:
  """The same in fewer bits, one time in five."""
  if rng.random() < 0.8:
    return qparams
  bits, narrow = int(rng.integers(2, 9)), bool(rng.integers(2))
  limits = QParams(qparams.scale, 0, bits, narrow)
  zero_point = min(max(qparams.zero_point, limits.qmin), limits.qmax)
  return QParams(qparams.scale, zero_point, bits, narrow)


def same_padding(size: int, width: int, stride: int) -> tuple[int, int]:
  total = max((-(-size // stride) - 1) * stride + width - size, 0)
  return total // 2, total - total // 2


# (height, width), window, strides, padding: 'SAME', or in full.
_GEOMETRIES = (
  ((7, 9), (3, 3), (1, 1), 'SAME'),
  ((8, 7), (3, 3), (2, 2), 'SAME'),
  ((9, 9), (1, 1), (1, 1), NO_PADDING),
  ((8, 10), (3, 3), (2, 2), ((1, 1), (1, 1))),
  ((9, 7), (5, 2), (1, 3), 'SAME'),
  ((9, 8), (1, 1), (2, 2), NO_PADDING),
  ((9, 11), (3, 2), (1, 1), ((2, 0), (1, 0))),
  ((12, 13), (4, 3), (2, 1), NO_PADDING),
  ((5, 6), (5, 6), (1, 1), NO_PADDING),
  ((11, 11), (5, 5), (3, 2), ((0, 3), (2, 4))),
)


def geometry(index: int):
  size, window, strides, padding = _GEOMETRIES[index % len(_GEOMETRIES)]
  if padding == 'SAME':
    padding = tuple(map(same_padding, size, window, strides))
  return size, window, strides, padding


def draw_clamp(rng, output: QParams) -> tuple[int, int]:
  """The output's limits, or those of an activation, or any."""
  zero, six = output.zero_point, round(6 / output.scale)
  limits = [
    INT8,
    (zero, 127),
    (zero, min(zero + six, 127)),
    tuple(sorted(rng.integers(-128, 128, 2).tolist())),
  ]
  return limits[rng.integers(len(limits))]
