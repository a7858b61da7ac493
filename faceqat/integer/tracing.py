"""Recording: a model called on a symbol writes its integer program.

`apply` appends an operator to the program and returns the symbol of its
output; the functions below it first turn real numbers into what an operator
holds. Layers call them where they would compute on an array.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from faceqat.integer import operators as ops
from faceqat.integer.operators import Operator
from faceqat.integer.program import IntegerProgram, check_accumulators
from faceqat.integer.symbol import Symbol, explain
from faceqat.integer.tensors import QParams, Tensor

ActivationRange = tuple[float, float] | None


# By operator: what it was before it was quantized. Of a layer with weights,
# `kernel` and `bias`; of a PReLU, `alpha`; of what can cut, `activation_range`.
Reals = dict[str, Mapping[str, Any]]


class Tape:
  """The tensors and operators of one trace, in the order they were made."""

  def __init__(self, image: Tensor):
    self.tensors = {image.name: image}
    self.operators = []
    self.reals: Reals = {}

  def append(self, operator: Operator, output: QParams) -> Symbol:
    """Adds an operator; its output's shape follows from its inputs."""
    if operator.output in self.tensors:
      operator.fail(
        'this program has a tensor of that name already; a layer that is '
        'called twice needs two names'
      )
    inputs = [self.tensors[name] for name in operator.inputs]
    shape = operator.output_shape(inputs)
    tensor = Tensor(operator.output, shape, **dataclasses.asdict(output))
    operator.check(inputs, tensor)
    self.tensors[tensor.name] = tensor
    self.operators.append(operator)
    return Symbol(tensor, self)


def trace(
  fn: Callable[[Symbol], Symbol],
  *,
  image_shape: tuple[int, int, int] = (112, 112, 3),
  metadata: Mapping[str, str] | None = None,
) -> IntegerProgram:
  """Calls a model on a symbol and returns the program it recorded.

  Args:
    fn: takes the image's symbol, returns the embedding's.
    image_shape: (H, W, 3).
    metadata: texts to keep with the program.

  Returns:
    The program, without operators that its output does not need.

  Raises:
    TypeError: the model used an operation that has no integer form.
    ValueError: an operator does not fit its inputs, or could overflow.
  """
  return trace_with_reals(fn, image_shape=image_shape, metadata=metadata)[0]


def trace_with_reals(
  fn: Callable[[Symbol], Symbol],
  *,
  image_shape: tuple[int, int, int],
  metadata: Mapping[str, str] | None = None,
) -> tuple[IntegerProgram, Reals]:
  """The same, with the real numbers that the program was made of."""
  image = Tensor('image', tuple(image_shape), scale=1 / 128, zero_point=0)
  tape = Tape(image)
  try:
    result = fn(Symbol(image, tape))
  except TypeError as error:
    explanation = explain(error)
    if explanation is None:
      raise
    raise explanation from error
  if not isinstance(result, Symbol) or result.tape is not tape:
    raise TypeError(
      f'The recorded model returned {type(result).__name__}; it must return '
      'a symbol that was made from the one it got'
    )
  needed = {result.tensor.name}
  kept = []
  for operator in reversed(tape.operators):
    if operator.output in needed:
      needed.update(operator.inputs)
      kept.append(operator)
  needed.add(image.name)
  program = IntegerProgram(
    tensors={n: t for n, t in tape.tensors.items() if n in needed},
    operators=tuple(reversed(kept)),
    input=image.name,
    output=result.tensor.name,
    metadata=dict(metadata or {}),
  )
  check_accumulators(program)
  return program, tape.reals


def apply(
  kind: type[Operator],
  *inputs: Symbol,
  name: str,
  output: QParams | None = None,
  reals: Mapping[str, Any] | None = None,
  **fields,
) -> Symbol:
  """Records an operator.

  Args:
    kind: the operator's class.
    *inputs: what it reads, all of one trace.
    name: the layer's path; becomes the output tensor's name.
    output: how the result is quantized; None where `kind` fixes it, or hands
      on the quantization of its input.
    reals: what it was before it was quantized; see `Reals`.
    **fields: the operator's other fields.

  Returns:
    The symbol of the result.
  """
  _check_symbols(inputs, f'{name} ({kind.__name__})')
  names = tuple(x.tensor.name for x in inputs)
  operator = kind(name=name, inputs=names, **fields)
  if kind.SAME_QPARAMS:
    output = inputs[0].tensor.qparams
  tape = inputs[0].tape
  tape.reals[name] = reals or {}
  return tape.append(operator, kind.OUTPUT or output)


def _check_symbols(values: Sequence, operator: str):
  for value in values:
    if not isinstance(value, Symbol):
      raise TypeError(
        f'{operator} got {type(value).__name__}; it takes a Symbol, which '
        'tracing.trace hands to the model'
      )
    if value.tape is not values[0].tape:
      raise TypeError(
        f'{operator} got {value!r} of another trace; a symbol is of use only '
        'while its own model is being recorded'
      )


def activation_limits(
  activation_range: ActivationRange, output: QParams
) -> tuple[int, int]:
  """The integers between which an activation function cuts.

  Args:
    activation_range: real (low, high); relu is (0, inf), relu6 (0, 6), None
      cuts at the output's own limits.
    output: how the cut values are quantized.

  Returns:
    (low, high), within the output's limits.

  Source: `CalculateActivationRangeQuantized` of TFLite's kernel_util: float32
  quotients, halves rounded away from zero.

  >>> activation_limits((0.0, 6.0), QParams(0.03, -128))
  (-128, 72)
  """
  if activation_range is None:
    return output.qmin, output.qmax
  low, high = (float(limit) for limit in activation_range)
  if not low < high:
    raise ValueError(
      f'activation_range is {activation_range}; it must be (low, high)'
    )
  limits = []
  for limit in (low, high):
    with np.errstate(over='ignore'):
      steps = float(np.float32(limit) / np.float32(output.scale))
    if math.isinf(steps):
      integer = output.qmin if steps < 0 else output.qmax
    else:
      away = math.floor(abs(steps) + 0.5)
      integer = output.zero_point + int(math.copysign(away, steps))
    limits.append(min(max(integer, output.qmin), output.qmax))
  return limits[0], limits[1]


def quantize_bias(
  bias: np.ndarray, weight_scale: np.ndarray, input_scale: float, name: str
) -> np.ndarray:
  """Real bias [O] as int32 steps of `input_scale * weight_scale`.

  Raises:
    ValueError: a bias does not fit int32; names the operator and channel.
  """
  bias = np.asarray(bias, np.float64)
  steps = bias / (np.float64(input_scale) * np.asarray(weight_scale))
  steps = np.copysign(np.floor(np.abs(steps) + 0.5), steps)
  # Written so that NaN counts as outside.
  outside = ~(np.abs(steps) <= 2**31 - 1)
  if outside.any():
    channel = int(outside.argmax())
    raise ValueError(
      f'{name}, channel {channel}: the bias {bias[channel]:g} is '
      f'{steps[channel]:g} steps of {input_scale:g} (input scale) x '
      f'{float(weight_scale[channel]):g} (weight scale), which int32 cannot '
      "hold. The channel's weights are close to zero beside its bias: set "
      'them to 0, where any scale will do, or give the layer one scale for '
      'all its channels (per_channel False)'
    )
  return steps.astype(np.int32)


def weighted(
  kind: type[ops.Weighted],
  x: Symbol,
  *,
  name: str,
  weights: np.ndarray,
  weight_scale: np.ndarray,
  weight_bits: int = 8,
  kernel: np.ndarray | None = None,
  bias: np.ndarray | None,
  activation_range: ActivationRange = None,
  output: QParams,
  **fields,
) -> Symbol:
  """Records a convolution or matrix product with its bias and activation.

  Args:
    kind: `Conv2D` or `Dense`.
    x: (H, W, I), or (I,) of a `Dense`.
    name: the layer's path; becomes the output tensor's name.
    weights: int8 [kh, kw, I, O], depthwise [kh, kw, 1, C], dense [I, O].
    weight_scale: float32 [O] or scalar, real value of one weight step.
    weight_bits: 2..8.
    kernel: the real numbers that `weights` were made of; None: not known.
    bias: real [O] or None; quantized here.
    activation_range: see `activation_limits`.
    output: how the result is quantized.
    **fields: `strides`, `padding` and `depthwise` of a `Conv2D`.

  Returns:
    The symbol of the result, (H', W', O) or (O,).
  """
  weights = np.asarray(weights)
  if weights.dtype != np.int8:
    raise ValueError(
      f'{name}: weights are {weights.dtype}; they must be int8 already'
    )
  scale = np.asarray(weight_scale, np.float32)
  scale = np.broadcast_to(scale, weights.shape[-1:]).copy()
  bias = np.zeros(scale.shape) if bias is None else np.asarray(bias)
  if bias.shape != scale.shape:
    raise ValueError(f'{name}: bias is {bias.shape}, not {scale.shape}')
  return apply(
    kind,
    x,
    name=name,
    weights=weights,
    weight_scale=scale,
    weight_bits=weight_bits,
    bias=quantize_bias(bias, scale, x.tensor.scale, name),
    clamp=activation_limits(activation_range, output),
    output=output,
    reals={
      'kernel': weights * scale if kernel is None else kernel,
      'bias': bias,
      'activation_range': activation_range,
    },
    **fields,
  )


def add(
  a: Symbol,
  b: Symbol,
  *,
  name: str,
  activation_range: ActivationRange = None,
  output: QParams,
) -> Symbol:
  """Records a sum of two tensors of one shape.

  An activation that the limits of `output` do not cut by themselves, as a relu
  whose zero is their least, becomes an operator behind '<name>/sum'.
  """
  limits = activation_limits(activation_range, output)
  reals = {'activation_range': activation_range}
  if limits == (output.qmin, output.qmax):
    return apply(ops.Add, a, b, name=name, output=output, reals=reals)
  total = apply(ops.Add, a, b, name=f'{name}/sum', output=output)
  return apply(ops.Clamp, total, name=name, limits=limits, reals=reals)


def concat(xs: Sequence[Symbol], *, name: str, output: QParams) -> Symbol:
  """Records a joining of channels.

  An input that is quantized otherwise than `output` is requantized first, as
  '<name>/requantize_<index>'.
  """
  if not xs:
    raise ValueError(f'{name} (Concat) got no inputs')
  _check_symbols(xs, f'{name} (Concat)')
  inputs = []
  for index, x in enumerate(xs):
    if x.tensor.qparams != output:
      x = apply(
        ops.Requantize, x, name=f'{name}/requantize_{index}', output=output
      )
    inputs.append(x)
  return apply(ops.Concat, *inputs, name=name)


def clamp(x: Symbol, *, name: str, activation_range: ActivationRange) -> Symbol:
  """Records an activation that stands alone, quantized as its input."""
  limits = activation_limits(activation_range, x.tensor.qparams)
  reals = {'activation_range': activation_range}
  return apply(ops.Clamp, x, name=name, limits=limits, reals=reals)
