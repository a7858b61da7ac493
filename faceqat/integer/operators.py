"""The operators of an integer program.

An operator is frozen data: it names its inputs and holds its integer weights.
It knows its output's shape, the factors by which it is rescaled, how large its
sums can become, and which inputs an output depends on. All of them have their
names here; those with weights are in weighted_operators.py.
"""

import math

import numpy as np

from faceqat.integer import multipliers
from faceqat.integer.multipliers import Rescaling
from faceqat.integer.operator_base import Operator, Padding, Windowed, frozen
from faceqat.integer.tensors import QParams, Tensor, check_integers, check_scale
from faceqat.integer.weighted_operators import Conv2D
from faceqat.integer.weighted_operators import Dense as Dense
from faceqat.integer.weighted_operators import Weighted as Weighted


@frozen
class Add(Operator):
  """Sum of two tensors of one shape, each with its own scale."""

  INPUT_COUNT = 2
  ELEMENTWISE = True

  def _shape(self, inputs):
    if inputs[0].shape != inputs[1].shape:
      self.fail(
        f'inputs have shapes {inputs[0].shape} and {inputs[1].shape}; they '
        'must be equal'
      )
    return inputs[0].shape

  def rescalings(self, inputs, output):
    """Those of both inputs, raised for headroom, and that of their sum."""
    reaches = [x.reach << multipliers.ADD_LEFT_SHIFT for x in inputs]
    reaches.append(sum(reaches))  # Factors are at most 1/2, so that is ample.
    pairs = multipliers.add_multipliers(*inputs, output)
    return tuple(Rescaling(*pair, reach) for pair, reach in zip(pairs, reaches))


@frozen
class Mul(Operator):
  """Product of two tensors, each with its own scale.

  The second has the first's shape, or is (C,) beside (H, W, C): a gate per
  channel, as in squeeze-and-excitation.
  """

  INPUT_COUNT = 2
  ELEMENTWISE = True

  def _shape(self, inputs):
    first, second = (tensor.shape for tensor in inputs)
    if second not in (first, first[-1:]):
      self.fail(
        f'inputs have shapes {first} and {second}; the second must be {first} '
        f'or {first[-1:]}'
      )
    return first

  def rescalings(self, inputs, output):
    pair = multipliers.mul_multiplier(*inputs, output)
    return (Rescaling(*pair, inputs[0].reach * inputs[1].reach),)


@frozen
class Concat(Operator):
  """Joins channels; every input has the output's scale and zero point."""

  INPUT_COUNT = None
  SAME_QPARAMS = True

  def _shape(self, inputs):
    lead = inputs[0].shape[:-1]
    if any(tensor.shape[:-1] != lead for tensor in inputs):
      shapes = [tensor.shape for tensor in inputs]
      self.fail(f'inputs have shapes {shapes}; only channels may differ')
    return (*lead, sum(tensor.shape[-1] for tensor in inputs))

  def region(self, index, inputs):
    *place, channel = index
    for tensor in inputs:
      if channel < tensor.shape[-1]:
        break
      channel -= tensor.shape[-1]
    return {tensor.name: (*place, channel)}


@frozen
class Requantize(Operator):
  """The same reals at another scale and zero point."""

  ELEMENTWISE = True

  def rescalings(self, inputs, output):
    (source,) = inputs
    pair = multipliers.requantize_multiplier(source, output)
    return (Rescaling(*pair, source.reach),)


@frozen
class PReLU(Operator):
  """`x` where it is positive, `alpha * x` elsewhere.

  Attributes:
    alpha: int8 [C], zero point 0.
    alpha_scale: float32-representable real value of one step of alpha.
  """

  alpha: np.ndarray
  alpha_scale: float

  ARRAYS = ('alpha',)
  ELEMENTWISE = True
  HOMOGENEOUS = True

  def _check_fields(self):
    self._check_array('alpha', np.int8, 1)
    scale = check_scale(self.alpha_scale, 'alpha_scale')
    self._set(alpha_scale=scale)

  def _shape(self, inputs):
    if inputs[0].shape[-1:] != self.alpha.shape:
      self.fail(
        f'input {inputs[0].name!r} has shape {inputs[0].shape}; alpha has '
        f'{self.alpha.shape}'
      )
    return inputs[0].shape

  def rescalings(self, inputs, output):
    """That of the positive side, and that of the negative one."""
    (source,) = inputs
    positive, negative = multipliers.prelu_multipliers(
      self.alpha_scale, source, output
    )
    slopes = np.abs(self.alpha.astype(np.int64))
    return (
      Rescaling(*positive, source.reach),
      Rescaling(*negative, source.reach * slopes),
    )


@frozen
class SumPReLU(Operator):
  """`x + relu((alpha - 1) * x)`: a PReLU, for slopes of at most 1.

  XNNPACK has no PReLU in int8, but a depthwise convolution with a ReLU, which
  is called the rise here, and a sum.

  Attributes:
    weights: int8 [C], of alpha - 1.
    weight_scale: float32 [C].
    rise_scale: of the rise, which has its zero at the least integer.
  """

  weights: np.ndarray
  weight_scale: np.ndarray
  rise_scale: float

  ARRAYS = ('weights', 'weight_scale')
  INPUT_RANK = 3
  ELEMENTWISE = True
  HOMOGENEOUS = True

  def _check_fields(self):
    self._check_array('weights', np.int8, 1)
    self._check_array('weight_scale', np.float32, 1)
    self._set(rise_scale=check_scale(self.rise_scale, 'rise_scale'))
    # Checks the rest.
    _ = self.rise

  @property
  def rise(self) -> Conv2D:
    """The convolution; the limits of its output are the ReLU."""
    return Conv2D(
      name=f'{self.name}:rise',
      inputs=self.inputs,
      weights=self.weights[None, None, None],
      weight_scale=self.weight_scale,
      bias=np.zeros(self.weights.shape, np.int32),
      depthwise=True,
    )

  @property
  def total(self) -> Add:
    """What adds the rise."""
    return Add(name=self.name, inputs=(*self.inputs, self.rise.name))

  def rise_tensor(self, source: Tensor) -> Tensor:
    """The output of the rise."""
    return Tensor(self.rise.name, source.shape, self.rise_scale, -128)

  def _shape(self, inputs):
    return self.rise.output_shape(inputs)

  def sums(self, inputs):
    return self.rise.sums(inputs)

  def rescalings(self, inputs, output):
    """That of the rise, and those of the sum."""
    rise = self.rise_tensor(inputs[0])
    return (
      *self.rise.rescalings(inputs, rise),
      *self.total.rescalings([*inputs, rise], output),
    )


@frozen
class Mean(Operator):
  """Average over height and width: (H, W, C) -> (C,)."""

  INPUT_RANK = 3

  def _shape(self, inputs):
    return inputs[0].shape[2:]

  def sums(self, inputs):
    (source,) = inputs
    reach = source.reach * math.prod(source.shape[:2])
    return {'the sum over height and width': reach}

  def rescalings(self, inputs, output):
    (reach,) = self.sums(inputs).values()
    return (Rescaling(*multipliers.mean_multiplier(*inputs, output), reach),)

  def region(self, index, inputs):
    return {inputs[0].name: (slice(None), slice(None), *index)}


@frozen
class _Pool(Windowed):
  """A window in each channel; scale and zero point stay."""

  window: tuple[int, int]
  strides: tuple[int, int]
  padding: Padding = ((0, 0), (0, 0))

  SAME_QPARAMS = True

  def _check_fields(self):
    self._set(window=check_integers(self.window, 'window', 1, 2**16, 2))
    self._check_window()

  def _shape(self, inputs):
    return (*self._window_shape(inputs[0]), inputs[0].shape[2])


@frozen
class MaxPool(_Pool):
  """Greatest value in each window; padding never wins."""


@frozen
class AveragePool(_Pool):
  """Average over each window; padding does not count."""

  def window_counts(self, shape: tuple[int, int, int]) -> np.ndarray:
    """How many elements of an (H, W, C) image each window meets, [H', W']."""
    image = np.pad(np.ones(shape[:2], np.int32), self.padding)
    windows = np.lib.stride_tricks.sliding_window_view(image, self.window)
    rows, columns = self.strides
    return windows[::rows, ::columns].sum((2, 3), dtype=np.int32)

  def sums(self, inputs):
    (source,) = inputs
    count = math.prod(map(min, self.window, source.shape))
    # Half their number is added to round.
    return {'the sum': count * max(-source.qmin, source.qmax) + count // 2}


@frozen
class Clamp(Operator):
  """An activation that stands alone (ReLU, ReLU6): cuts at `limits`."""

  limits: tuple[int, int]

  SAME_QPARAMS = True
  ELEMENTWISE = True

  def _check_fields(self):
    limits = check_integers(self.limits, 'limits', -128, 127, 2)
    if limits[0] > limits[1]:
      self.fail(f'limits are {limits}; the first must not be the greater')
    self._set(limits=limits)

  def limits_of(self, output):
    return self.limits


@frozen
class Logistic(Operator):
  """1 / (1 + exp(-x)); the output's scale is 1/256 at -128."""

  OUTPUT = QParams(scale=1 / 256, zero_point=-128)
  ELEMENTWISE = True


@frozen
class SquareRoot(Operator):
  """The square root, at the output's scale; zero for negative numbers."""

  ELEMENTWISE = True


@frozen
class Reshape(Operator):
  """Flattens (H, W, C) to (H * W * C,), channels fastest."""

  SAME_QPARAMS = True
  HOMOGENEOUS = True

  def _shape(self, inputs):
    return (math.prod(inputs[0].shape),)

  def region(self, index, inputs):
    return {inputs[0].name: np.unravel_index(index[0], inputs[0].shape)}


@frozen
class L2Normalize(Operator):
  """Divides by the Euclidean norm; the output's scale is 1/128 at 0."""

  INPUT_RANK = 1
  OUTPUT = QParams(scale=1 / 128, zero_point=0)

  def sums(self, inputs):
    (source,) = inputs
    return {'the sum of squares': source.shape[0] * source.reach**2}


def _leaves(kind: type[Operator]) -> list[type[Operator]]:
  below = kind.__subclasses__()
  return [x for y in below for x in _leaves(y)] if below else [kind]


# Every operator by its name.
OPERATORS = {kind.__name__: kind for kind in _leaves(Operator)}
