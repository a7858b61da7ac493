"""The integer program: a list of operators over named int8 tensors.

A program is data, and knows nothing of training. The evaluator and the
exporters read it. It is checked as a whole when it is made, so that none of
them has to.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping

import numpy as np

from faceqat.files import atomic
from faceqat.integer import program_file
from faceqat.integer.accumulators import check_operator
from faceqat.integer.operators import OPERATORS, Operator
from faceqat.integer.tensors import QParams, Tensor

# Whose rounding a program's integers follow: that of LiteRT's reference
# kernels, or what LiteRT computes by default, with the XNNPACK delegate.
CONTRACTS = ('tflite_ref', 'xnnpack')

# An entry of the metadata that was measured of the program and is no part of
# it: its digest is that of the program without it.
MATCH_RATES = 'match_rates'


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerProgram:
  """Operators in the order they run.

  Attributes:
    tensors: every activation by name; nothing else.
    operators: each reads tensors that exist by then and makes one.
    input: name of the image tensor, int8 (H, W, C): pixel - 128.
    output: name of the embedding, int8 (D,).
    metadata: free text about the program, kept in its file.
    contract: the rounding rules that its readers follow, one of `CONTRACTS`.

  Raises:
    ValueError: tensors and operators do not fit together, or the contract is
      unknown.
  """

  tensors: Mapping[str, Tensor]
  operators: tuple[Operator, ...]
  input: str
  output: str
  metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
  contract: str = 'tflite_ref'

  def __post_init__(self):
    if self.contract not in CONTRACTS:
      raise ValueError(
        f'The contract is {self.contract!r}; this version knows {CONTRACTS}'
      )
    for name, tensor in self.tensors.items():
      if name != tensor.name:
        raise ValueError(f'Tensor {tensor.name!r} is filed under {name!r}')
    for name in (self.input, self.output):
      if name not in self.tensors:
        raise ValueError(f'The program has no tensor {name!r}')
    for key, value in self.metadata.items():
      if not isinstance(key, str) or not isinstance(value, str):
        raise ValueError(f'Metadata {key!r} is {value!r}; it must be text')
    image = self.tensors[self.input]
    if len(image.shape) != 3:
      raise ValueError(f'The image has shape {image.shape}, not (H, W, C)')
    if image.qparams != QParams(scale=1 / 128, zero_point=0):
      # uint8 pixels enter as pixel - 128: there is no other scale.
      raise ValueError(
        f'The image has {image.qparams}; it must have scale 1/128, zero '
        'point 0 and 8 bits'
      )
    known = {self.input}
    for operator in self.operators:
      for name in operator.inputs:
        if name not in known:
          operator.fail(f'reads {name!r}, which nothing before it makes')
      if operator.output in known:
        operator.fail('makes a tensor that exists already')
      if operator.output not in self.tensors:
        operator.fail('its output tensor is not described')
      operator.check(self.inputs_of(operator), self.tensors[operator.output])
      known.add(operator.output)
    if known != set(self.tensors):
      extra = sorted(set(self.tensors) - known)
      raise ValueError(f'No operator makes the tensors {extra}')

  def inputs_of(self, operator: Operator) -> list[Tensor]:
    """The tensors that an operator reads, in its order."""
    return [self.tensors[name] for name in operator.inputs]


def check_accumulators(program: IntegerProgram):
  """Proves that no int32 in the program can overflow, for any image.

  Raises:
    ValueError: names the operator, the channel and the bound it breaks.
  """
  for operator in program.operators:
    output = program.tensors[operator.output]
    check_operator(operator, program.inputs_of(operator), output)


def save(program: IntegerProgram, path: str | os.PathLike):
  """Writes a program to one file; the file appears whole or not at all."""
  atomic.write(path, to_bytes(program))


def with_metadata(
  program: IntegerProgram, entries: Mapping[str, str]
) -> IntegerProgram:
  """The program with further texts; what it computes stays."""
  return dataclasses.replace(program, metadata={**program.metadata, **entries})


def digest(program: IntegerProgram) -> str:
  """SHA-256 of `digested_bytes`, which names the program."""
  return hashlib.sha256(digested_bytes(program)).hexdigest()


def digested_bytes(program: IntegerProgram) -> bytes:
  """The program without `MATCH_RATES`, in a form that stays what it is.

  It is a file that `load` reads, in the format of earlier versions.
  """
  metadata = dict(program.metadata)
  metadata.pop(MATCH_RATES, None)
  bare = dataclasses.replace(program, metadata=metadata)
  return program_file.to_bytes_2(*_describe(bare))


def to_bytes(program: IntegerProgram) -> bytes:
  """The content of a program's file."""
  return program_file.to_bytes(*_describe(program))


def _describe(program: IntegerProgram) -> tuple[dict, dict[str, np.ndarray]]:
  """What is JSON of a program, and its arrays."""
  arrays = {}
  operators = []
  for operator in program.operators:
    fields = {'type': type(operator).__name__}
    for field in dataclasses.fields(operator):
      value = getattr(operator, field.name)
      if field.name in operator.ARRAYS:
        arrays[f'{operator.name}:{field.name}'] = value
      else:
        fields[field.name] = value
    operators.append(fields)
  description = {
    'input': program.input,
    'output': program.output,
    'metadata': dict(program.metadata),
    'contract': program.contract,
    'tensors': [dataclasses.asdict(t) for t in program.tensors.values()],
    'operators': operators,
  }
  return description, arrays


def load(path: str | os.PathLike) -> IntegerProgram:
  """Reads a program that `save` wrote.

  Raises:
    ValueError: the file is no program, damaged, cut short, written by a newer
      version, or its program does not fit together or could overflow.
  """
  description, arrays = program_file.read(path)
  try:
    program = _from_description(description, arrays)
    check_accumulators(program)
  except ValueError as error:
    raise ValueError(f'{os.fspath(path)}: {error}') from error
  except program_file.MALFORMED as error:
    raise ValueError(program_file.malformed(os.fspath(path), error)) from error
  return program


def _from_description(
  description: dict, arrays: dict[str, np.ndarray]
) -> IntegerProgram:
  tensors = [Tensor(**fields) for fields in description['tensors']]
  operators = []
  for fields in description['operators']:
    fields = dict(fields)
    kind = fields.pop('type')
    if kind not in OPERATORS:
      raise ValueError(
        f'Operator {fields.get("name")!r} is a {kind!r}; this version knows '
        f'{sorted(OPERATORS)}'
      )
    for name in OPERATORS[kind].ARRAYS:
      fields[name] = arrays.pop(f'{fields["name"]}:{name}')
    operators.append(OPERATORS[kind](**fields))
  if arrays:
    raise ValueError(f'No operator uses the arrays {sorted(arrays)}')
  by_name = {tensor.name: tensor for tensor in tensors}
  if len(by_name) != len(tensors):
    raise ValueError('Two tensors have one name')
  return IntegerProgram(
    tensors=by_name,
    operators=tuple(operators),
    input=description['input'],
    output=description['output'],
    metadata=description['metadata'],
    # Programs of format version 1 do not name it.
    contract=description.get('contract', 'tflite_ref'),
  )
