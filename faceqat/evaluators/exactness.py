"""Whether two runs of one program give the same integers, and where not.

A run is the evaluator's, or an exported file's in its runtime. Two that follow
one contract agree in every output. Where they do not, the first operator that
differs on equal inputs is the one whose rule is broken.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from faceqat.integer import operators as ops
from faceqat.integer.program import IntegerProgram

# Operators each of whose outputs comes from the input at its own place.
_ELEMENTWISE = (
  ops.Add,
  ops.Clamp,
  ops.Logistic,
  ops.Mul,
  ops.PReLU,
  ops.Requantize,
  ops.SquareRoot,
)
_SHOWN_VALUES = 24


@dataclasses.dataclass(frozen=True)
class Comparison:
  """How two arrays of integers compare.

  Attributes:
    outputs: how many were compared.
    differing: in how many they differ.
    largest: the largest difference, in steps.
  """

  outputs: int
  differing: int
  largest: int


@dataclasses.dataclass(frozen=True)
class Difference:
  """One output in which two runs differ although its inputs are equal.

  Attributes:
    operator: what computes it.
    index: its place in `[B, *shape]`.
    expected, actual: both values.
    inputs: by tensor, the values that this output depends on.
    comparison: of the operator's whole output.
  """

  operator: ops.Operator
  index: tuple[int, ...]
  expected: int
  actual: int
  inputs: Mapping[str, np.ndarray]
  comparison: Comparison

  def __str__(self):
    lines = [
      f'first difference: layer {self.operator.name} '
      f'({type(self.operator).__name__}), {self.comparison.differing} of '
      f'{self.comparison.outputs} outputs, by up to '
      f'{self.comparison.largest}; at {list(self.index)}, expected '
      f'{self.expected}, got {self.actual}, from'
    ]
    for name, values in self.inputs.items():
      shown = np.array2string(
        values, threshold=_SHOWN_VALUES, separator=', '
      ).replace('\n', '')
      lines.append(f'  {name} {list(values.shape)}: {shown}')
    return '\n'.join(lines)


def compare_integers(expected: np.ndarray, actual: np.ndarray) -> Comparison:
  """Compares integers of one shape.

  Raises:
    ValueError: shapes or types differ.
  """
  if expected.shape != actual.shape or expected.dtype != actual.dtype:
    raise ValueError(
      f'the readers give {expected.dtype}{list(expected.shape)} and '
      f'{actual.dtype}{list(actual.shape)}; they must agree'
    )
  difference = np.abs(expected.astype(np.int64) - actual.astype(np.int64))
  return Comparison(
    outputs=difference.size,
    differing=int(np.count_nonzero(difference)),
    largest=int(difference.max(initial=0)),
  )


def first_difference(
  program: IntegerProgram,
  expected: Mapping[str, np.ndarray],
  actual: Mapping[str, np.ndarray],
) -> Difference | None:
  """Finds the first operator in which two runs differ.

  Args:
    program: of both runs.
    expected: tensor name to int8 `[B, *shape]`, of every tensor.
    actual: the same of the other run, on the same images.

  Returns:
    None where all tensors agree.
  """
  for operator in program.operators:
    name = operator.output
    comparison = compare_integers(expected[name], actual[name])
    if not comparison.differing:
      continue
    index = tuple(
      int(axis[0]) for axis in np.nonzero(expected[name] != actual[name])
    )
    return Difference(
      operator=operator,
      index=index,
      expected=int(expected[name][index]),
      actual=int(actual[name][index]),
      inputs={
        source: expected[source][index[0]][region]
        for source, region in _regions(program, operator, index[1:]).items()
      },
      comparison=comparison,
    )
  return None


def compare_layers(
  program: IntegerProgram,
  expected: Mapping[str, np.ndarray],
  actual: Mapping[str, np.ndarray],
) -> dict[str, Comparison]:
  """Compares every operator's output, by its name, in the order they run."""
  return {
    operator.name: compare_integers(
      expected[operator.output], actual[operator.output]
    )
    for operator in program.operators
  }


def _regions(
  program: IntegerProgram, operator: ops.Operator, index: tuple[int, ...]
) -> dict[str, tuple]:
  """For each input, the indices into it that one output depends on."""
  inputs = program.inputs_of(operator)
  if isinstance(operator, _ELEMENTWISE):
    # A (C,) input beside a (H, W, C) one has the channel alone.
    return {t.name: index[len(index) - len(t.shape) :] for t in inputs}
  if isinstance(operator, ops.Concat):
    *place, channel = index
    for tensor in inputs:
      if channel < tensor.shape[-1]:
        return {tensor.name: (*place, channel)}
      channel -= tensor.shape[-1]
  source = inputs[0]
  if isinstance(operator, ops.Mean):
    return {source.name: (slice(None), slice(None), index[0])}
  if isinstance(operator, ops.Reshape):
    return {source.name: np.unravel_index(index[0], source.shape)}
  if isinstance(operator, (ops.Conv2D, ops.MaxPool, ops.AveragePool)):
    if isinstance(operator, ops.Conv2D):
      window = operator.weights.shape[:2]
    else:
      window = operator.window
    place = tuple(
      slice(max(i * stride - before, 0), i * stride - before + width)
      for i, stride, width, (before, _) in zip(
        index, operator.strides, window, operator.padding
      )
    )
    one_channel = not isinstance(operator, ops.Conv2D) or operator.depthwise
    return {source.name: (*place, index[2] if one_channel else slice(None))}
  # Dense and L2Normalize read all of their input.
  return {source.name: (slice(None),)}
