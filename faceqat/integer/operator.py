"""The base of all operators: names, checks, window."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from faceqat.integer.tensors import Tensor, check_integers

Padding = tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Operator:
  """One step of a program; `name` is also its output tensor's name."""

  name: str
  inputs: tuple[str, ...]

  ARRAYS: ClassVar[tuple[str, ...]] = ()
  INPUT_COUNT: ClassVar[int | None] = 1  # None: one or more.
  INPUT_RANK: ClassVar[int | None] = None  # None: (C,) or (H, W, C).
  SAME_QPARAMS: ClassVar[bool] = False

  def __post_init__(self):
    inputs = self.inputs
    if not isinstance(self.name, str) or not self.name:
      raise ValueError(f'An operator is named {self.name!r}; give it a name.')
    if not isinstance(inputs, (tuple, list)) or not inputs:
      self.fail(f'inputs are {inputs!r}; they must be tensor names')
    if not all(isinstance(name, str) for name in inputs):
      self.fail(f'inputs are {inputs!r}; they must be tensor names')
    if self.INPUT_COUNT not in (None, len(inputs)):
      self.fail(f'has {len(inputs)} inputs; it takes {self.INPUT_COUNT}')
    object.__setattr__(self, 'inputs', tuple(inputs))
    try:
      self._check_fields()
    except ValueError as error:
      if str(error).startswith('Operator '):
        raise
      self.fail(str(error).removesuffix('.'))

  def _check_fields(self):
    """Validates and normalises an operator's own fields."""

  @property
  def output(self) -> str:
    return self.name

  def fail(self, message: str):
    """Raises a ValueError that names this operator."""
    kind = type(self).__name__
    raise ValueError(f'Operator {self.name!r} ({kind}): {message}.')

  def output_shape(self, inputs: Sequence[Tensor]) -> tuple[int, ...]:
    """The shape that these inputs give; ValueError if they do not fit."""
    for tensor in inputs:
      if self.INPUT_RANK not in (None, len(tensor.shape)):
        wanted = '(H, W, C)' if self.INPUT_RANK == 3 else '(C,)'
        self.fail(
          f'input {tensor.name!r} has shape {tensor.shape}; it takes {wanted}'
        )
    return self._shape(inputs)

  def _shape(self, inputs: Sequence[Tensor]) -> tuple[int, ...]:
    return inputs[0].shape

  def check(self, inputs: Sequence[Tensor], output: Tensor):
    """Raises ValueError unless this operator can make `output` of `inputs`."""
    shape = self.output_shape(inputs)
    if shape != output.shape:
      self.fail(f'gives shape {shape}, but its tensor says {output.shape}')
    if self.SAME_QPARAMS:
      for tensor in inputs:
        if tensor.qparams != output.qparams:
          self.fail(
            f'input {tensor.name!r} has {tensor.qparams}, its output has '
            f'{output.qparams}; they must be equal'
          )

  def _set(self, **values):
    for name, value in values.items():
      object.__setattr__(self, name, value)

  def _check_array(self, name: str, dtype, ndim: int):
    value = getattr(self, name)
    if not isinstance(value, np.ndarray):
      self.fail(f'{name} is {type(value).__name__}; it must be a numpy array')
    if value.dtype != dtype or value.ndim != ndim or value.size == 0:
      self.fail(
        f'{name} is {value.dtype}{list(value.shape)}; it must be '
        f'{np.dtype(dtype)} with {ndim} dimensions'
      )


def check_window(operator: Operator):
  """Validates and normalises strides and padding of a convolution or pooling.

  Raises:
    ValueError: names the operator and the field.
  """
  strides = check_integers(operator.strides, 'strides', 1, 2**16, 2)
  padding = operator.padding
  if not isinstance(padding, (tuple, list)) or len(padding) != 2:
    operator.fail(f'padding is {padding!r}; it must be ((t, b), (l, r))')
  padding = tuple(check_integers(p, 'padding', 0, 2**16, 2) for p in padding)
  operator._set(strides=strides, padding=padding)


def window_shape(operator: Operator, shape, window) -> tuple[int, int]:
  """Returns (H', W') after a window has moved over a padded input.

  Args:
    operator: has strides and padding.
    shape: (H, W, C) of the input.
    window: (height, width).

  Raises:
    ValueError: the window is too large, or padding alone would fill it.
  """
  sizes = []
  for size, width, stride, (before, after) in zip(
    shape[:2], window, operator.strides, operator.padding
  ):
    if before >= width or after >= width:
      operator.fail(f'padding {operator.padding} reaches past window {window}')
    sizes.append((size + before + after - width) // stride + 1)
  if min(sizes) < 1:
    operator.fail(f'window {window} is larger than its padded input {shape}')
  return tuple(sizes)
