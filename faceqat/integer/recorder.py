"""The trace of a model: what it records becomes a program."""

from collections.abc import Callable, Mapping

from faceqat.integer.operator import Operator
from faceqat.integer.program import IntegerProgram, check_accumulators
from faceqat.integer.symbol import Symbol, explain
from faceqat.integer.tensors import QParams, Tensor


class Recorder:
  """The tensors and operators of one trace, in the order they were made."""

  def __init__(self, image: Tensor):
    self.tensors = {image.name: image}
    self.operators = []

  def append(self, operator: Operator, output: QParams) -> Symbol:
    """Adds an operator; its output's shape follows from its inputs."""
    if operator.output in self.tensors:
      operator.fail(
        'this program has a tensor of that name already; a layer that is '
        'called twice needs two names'
      )
    inputs = [self.tensors[name] for name in operator.inputs]
    tensor = Tensor(
      name=operator.output,
      shape=operator.output_shape(inputs),
      scale=output.scale,
      zero_point=output.zero_point,
      bits=output.bits,
      narrow=output.narrow,
    )
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
  image = Tensor('image', tuple(image_shape), scale=1 / 128, zero_point=0)
  recorder = Recorder(image)
  try:
    result = fn(Symbol(image, recorder))
  except TypeError as error:
    explanation = explain(error)
    if explanation is None:
      raise
    raise explanation from error
  if not isinstance(result, Symbol) or result.recorder is not recorder:
    raise TypeError(
      f'The recorded model returned {type(result).__name__}; it must return '
      'a symbol that was made from the one it got.'
    )
  needed = {result.tensor.name}
  kept = []
  for operator in reversed(recorder.operators):
    if operator.output in needed:
      needed.update(operator.inputs)
      kept.append(operator)
  needed.add(image.name)
  program = IntegerProgram(
    tensors={n: t for n, t in recorder.tensors.items() if n in needed},
    operators=tuple(reversed(kept)),
    input=image.name,
    output=result.tensor.name,
    metadata=dict(metadata or {}),
  )
  check_accumulators(program)
  return program
