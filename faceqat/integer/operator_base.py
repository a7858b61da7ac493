"""The base of all operators: names, checks, windows, bounds."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from faceqat.integer.multipliers import Rescaling, weighted_multipliers
from faceqat.integer.tensors import (
  QParams,
  Tensor,
  check_integer,
  check_integers,
  check_scale,
)

Padding = tuple[tuple[int, int], tuple[int, int]]

frozen = dataclasses.dataclass(frozen=True, eq=False, kw_only=True)


@frozen
class Operator:
  """One step of a program; `name` is also its output tensor's name.

  A subclass says all that a program's readers need to know of it, but for how
  it is computed: `kernels` has that.

  Attributes:
    ARRAYS: fields that a program's file stores as arrays.
    INPUT_COUNT: None is one or more.
    INPUT_RANK: 1 takes (C,), 3 takes (H, W, C), None both.
    SAME_QPARAMS: scale and zero point of all inputs are the output's.
    OUTPUT: the one scale and zero point that runtimes give its output.
    ELEMENTWISE: each output comes from the inputs at its own place.
    HOMOGENEOUS: `f(s x) = s f(x)` in each channel, for any s > 0.
  """

  name: str
  inputs: tuple[str, ...]

  ARRAYS: ClassVar[tuple[str, ...]] = ()
  INPUT_COUNT: ClassVar[int | None] = 1
  INPUT_RANK: ClassVar[int | None] = None
  SAME_QPARAMS: ClassVar[bool] = False
  OUTPUT: ClassVar[QParams | None] = None
  ELEMENTWISE: ClassVar[bool] = False
  HOMOGENEOUS: ClassVar[bool] = False

  def __post_init__(self):
    inputs = self.inputs
    if not isinstance(self.name, str) or not self.name:
      raise ValueError(f'an operator is named {self.name!r}; give it a name')
    if (
      not isinstance(inputs, (tuple, list))
      or not inputs
      or not all(isinstance(name, str) for name in inputs)
    ):
      self.fail(f'inputs are {inputs!r}; they must be tensor names')
    if self.INPUT_COUNT not in (None, len(inputs)):
      self.fail(f'has {len(inputs)} inputs; it takes {self.INPUT_COUNT}')
    self._set(inputs=tuple(inputs))
    try:
      self._check_fields()
    except ValueError as error:
      if str(error).startswith('Operator '):
        raise
      self.fail(error)

  def _check_fields(self):
    """Validates and normalises an operator's own fields."""

  @property
  def output(self) -> str:
    return self.name

  def fail(self, message):
    """Raises a ValueError that names this operator."""
    kind = type(self).__name__
    raise ValueError(f'Operator {self.name!r} ({kind}): {message}')

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
    if self.OUTPUT not in (None, output.qparams):
      self.fail(f'its output has {output.qparams}; it must have {self.OUTPUT}')
    if self.SAME_QPARAMS:
      for tensor in inputs:
        if tensor.qparams != output.qparams:
          self.fail(
            f'input {tensor.name!r} has {tensor.qparams}, its output has '
            f'{output.qparams}; they must be equal'
          )

  def limits_of(self, output: Tensor) -> tuple[int, int]:
    """The integers between which the result is cut."""
    return output.qmin, output.qmax

  def sums(self, inputs: Sequence[Tensor]) -> Mapping[str, int | np.ndarray]:
    """Largest magnitudes, by what they are of, that its int32 sums reach."""
    del inputs
    return {}

  def rescalings(
    self, inputs: Sequence[Tensor], output: Tensor
  ) -> tuple[Rescaling, ...]:
    """The fixed-point factors of the contract `tflite_ref`, in its order.

    Raises:
      ValueError: the scales differ too much.
    """
    del inputs, output
    return ()

  def region(
    self, index: tuple[int, ...], inputs: Sequence[Tensor]
  ) -> dict[str, tuple]:
    """For each input, the index of what the output at `index` depends on."""
    if self.ELEMENTWISE:
      # A (C,) input beside a (H, W, C) one has the channel alone.
      return {t.name: index[len(index) - len(t.shape) :] for t in inputs}
    return {tensor.name: (slice(None),) for tensor in inputs}

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


class Windowed(Operator):
  """An operator that moves a `window` over a padded image, by `strides`."""

  INPUT_RANK = 3
  mixes_channels = False  # An output depends on its own channel alone.

  def _check_window(self):
    """Validates and normalises strides and padding."""
    strides = check_integers(self.strides, 'strides', 1, 2**16, 2)
    padding = self.padding
    if not isinstance(padding, (tuple, list)) or len(padding) != 2:
      self.fail(f'padding is {padding!r}; it must be ((t, b), (l, r))')
    padding = tuple(check_integers(p, 'padding', 0, 2**16, 2) for p in padding)
    self._set(strides=strides, padding=padding)

  def _window_shape(self, source: Tensor) -> tuple[int, int]:
    """(H', W') after the window has moved over a padded input."""
    sizes = []
    for size, width, stride, (before, after) in zip(
      source.shape, self.window, self.strides, self.padding
    ):
      if before >= width or after >= width:
        self.fail(f'padding {self.padding} reaches past window {self.window}')
      sizes.append((size + before + after - width) // stride + 1)
    if min(sizes) < 1:
      self.fail(
        f'window {self.window} is larger than its padded input {source.shape}'
      )
    return tuple(sizes)

  def region(self, index, inputs):
    *place, channel = index
    place = [
      slice(max(i * stride - before, 0), i * stride - before + width)
      for i, stride, width, (before, _) in zip(
        place, self.strides, self.window, self.padding
      )
    ]
    channels = slice(None) if self.mixes_channels else channel
    return {inputs[0].name: (*place, channels)}


class Weighted(Operator):
  """An operator with int8 weights, a scale per channel, a bias and a clamp."""

  ARRAYS = ('weights', 'weight_scale', 'bias')

  def _check_weights(self, ndim: int):
    self._check_array('weights', np.int8, ndim)
    self._check_array('weight_scale', np.float32, 1)
    self._check_array('bias', np.int32, 1)
    bits = check_integer(self.weight_bits, 'weight_bits', 2, 8)
    limit = 2 ** (bits - 1) - 1
    if np.abs(self.weights.astype(np.int32)).max() > limit:
      self.fail(f'{bits}-bit weights must lie in [{-limit}, {limit}]')
    channels = self.weights.shape[-1]
    for name in ('weight_scale', 'bias'):
      if getattr(self, name).shape != (channels,):
        self.fail(
          f'{name} has shape {getattr(self, name).shape}; the weights '
          f'{self.weights.shape} ask for ({channels},)'
        )
    for channel, scale in enumerate(self.weight_scale):
      check_scale(scale, f'weight_scale[{channel}]')
    clamp = check_integers(self.clamp, 'clamp', -128, 127, 2)
    self._set(weight_bits=bits, clamp=clamp)

  def check(self, inputs, output):
    super().check(inputs, output)
    low, high = self.clamp
    if not output.qmin <= low <= high <= output.qmax:
      self.fail(
        f'clamp is {self.clamp}; it must lie in [{output.qmin}, {output.qmax}]'
      )

  def limits_of(self, output):
    return self.clamp

  def folded_bias(self, source: Tensor) -> np.ndarray:
    """Bias [O], int64, that makes raw sums right: `bias - zp * sum(w)`."""
    axes = tuple(range(self.weights.ndim - 1))
    total = self.weights.sum(axis=axes, dtype=np.int64)
    return self.bias.astype(np.int64) - source.zero_point * total

  def sums(self, inputs):
    (source,) = inputs
    axes = tuple(range(self.weights.ndim - 1))
    total = np.abs(self.weights.astype(np.int64)).sum(axis=axes)
    corrected = total * source.reach + np.abs(self.bias.astype(np.int64))
    raw = total * max(-source.qmin, source.qmax)
    return {
      # `bias + sum((q - zp) * w)` and its partial sums.
      'the zero-point corrected accumulator': corrected,
      # `folded_bias + sum(q * w)` and its partial sums.
      'the raw accumulator': raw + np.abs(self.folded_bias(source)),
    }

  def rescalings(self, inputs, output):
    pair = weighted_multipliers(self.weight_scale, inputs[0], output)
    corrected, _ = self.sums(inputs).values()
    return (Rescaling(*pair, corrected),)
