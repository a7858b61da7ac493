"""Quantized tensors: their shapes, scales and zero points."""

import dataclasses
import math
import operator

import numpy as np


def check_integer(value, what: str, low: int, high: int) -> int:
  """`value` as a python int in [low, high]."""
  try:
    if isinstance(value, bool):
      raise TypeError
    number = operator.index(value)
  except TypeError:
    number = None
  if number is None or not low <= number <= high:
    raise ValueError(
      f'{what} is {value!r}; it must be an integer in [{low}, {high}]'
    )
  return number


def check_integers(
  value, what: str, low: int, high: int, count: int | None = None
):
  """`value` as a tuple of python ints in [low, high]."""
  if not isinstance(value, (tuple, list)) or count not in (None, len(value)):
    size = '' if count is None else f'{count} '
    raise ValueError(f'{what} is {value!r}; it must be {size}integers')
  return tuple(check_integer(item, what, low, high) for item in value)


def check_scale(value, what: str) -> float:
  """`value` rounded to float32, as a python float; normal and above zero."""
  try:
    if isinstance(value, (str, bytes, bool)):
      raise TypeError
    with np.errstate(over='ignore', under='ignore'):
      number = float(np.float32(value))
  except (TypeError, ValueError, OverflowError):
    number = math.nan
  if not (np.finfo(np.float32).tiny <= number < math.inf):
    raise ValueError(
      f'{what} is {value!r}; it must be a positive, normal float32'
    )
  return number


@dataclasses.dataclass(frozen=True)
class QParams:
  """How integers stand for reals: `real = scale * (q - zero_point)`.

  Attributes:
    scale: real value of one step; rounded to float32 on construction.
    zero_point: the signed integer that stands for 0.
    bits: 2..8. Values are held in int8, within the signed limits of `bits`.
    narrow: leave out the lowest integer (weights: [-127, 127]).
  """

  scale: float
  zero_point: int
  bits: int = 8
  narrow: bool = False

  def __post_init__(self):
    scale = check_scale(self.scale, 'scale')
    object.__setattr__(self, 'scale', scale)
    object.__setattr__(self, 'bits', check_integer(self.bits, 'bits', 2, 8))
    if not isinstance(self.narrow, (bool, np.bool_)):
      raise ValueError(f'narrow is {self.narrow!r}; it must be a bool')
    object.__setattr__(self, 'narrow', bool(self.narrow))
    zero_point = check_integer(
      self.zero_point, 'zero_point', self.qmin, self.qmax
    )
    object.__setattr__(self, 'zero_point', zero_point)

  @property
  def qmin(self) -> int:
    return int(self.narrow) - 2 ** (self.bits - 1)

  @property
  def qmax(self) -> int:
    return 2 ** (self.bits - 1) - 1


@dataclasses.dataclass(frozen=True)
class Tensor:
  """An activation: int8, one scale and zero point.

  Attributes:
    name: the flax path of the layer that makes it, 'block_3/expand'.
    shape: (H, W, C) or (C,), without the batch.
    scale, zero_point, bits, narrow: see `QParams`.
  """

  name: str
  shape: tuple[int, ...]
  scale: float
  zero_point: int
  bits: int = 8
  narrow: bool = False

  def __post_init__(self):
    if not isinstance(self.name, str) or not self.name:
      raise ValueError(f'a tensor is named {self.name!r}; give it a name')
    try:
      shape = check_integers(self.shape, 'shape', 1, 2**24)
      if len(shape) not in (1, 3):
        raise ValueError(f'shape is {shape}; it must be (H, W, C) or (C,)')
      if math.prod(shape) >= 2**31:
        raise ValueError(f'shape is {shape}; 2^31 elements are too many')
      qparams = QParams(self.scale, self.zero_point, self.bits, self.narrow)
    except ValueError as error:
      raise ValueError(f'Tensor {self.name!r}: {error}') from None
    object.__setattr__(self, 'shape', shape)
    for field in dataclasses.fields(QParams):
      object.__setattr__(self, field.name, getattr(qparams, field.name))

  @property
  def qparams(self) -> QParams:
    return QParams(self.scale, self.zero_point, self.bits, self.narrow)

  @property
  def qmin(self) -> int:
    return self.qparams.qmin

  @property
  def qmax(self) -> int:
    return self.qparams.qmax

  @property
  def reach(self) -> int:
    """Largest `|q - zero_point|`."""
    return max(self.zero_point - self.qmin, self.qmax - self.zero_point)
