"""Whether two runs of one program give the same integers, and where not.

A run is the evaluator's, or an exported file's in its runtime. Two that follow
one contract agree in every output. Where they do not, the first operator that
differs on equal inputs is the one whose rule is broken.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from faceqat.integer.operators import Operator
from faceqat.integer.program import IntegerProgram

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

  operator: Operator
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
    regions = operator.region(index[1:], program.inputs_of(operator))
    return Difference(
      operator=operator,
      index=index,
      expected=int(expected[name][index]),
      actual=int(actual[name][index]),
      inputs={
        source: expected[source][index[0]][region]
        for source, region in regions.items()
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
