"""The files that a program becomes, and how each is read back and run."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from faceqat.compilation import jit_integers
from faceqat.export import (
  digests,
  litert,
  onnx_graph,
  onnx_integer,
  onnx_qdq,
  onnx_runtime,
  tflite,
  tflite_builder,
)
from faceqat.export.byte_counts import Constant
from faceqat.export.exported import threads, to_integers
from faceqat.integer import packing, program_file
from faceqat.integer import program as integer_program
from faceqat.integer.evaluator import make_evaluator
from faceqat.integer.program import CONTRACTS, IntegerProgram

# From uint8 images [B, H, W, 3] to tensor name: int8 [B, *shape].
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Format:
  """A kind of file.

  Attributes:
    file: its name in the folder of an export.
    contracts: whose bits it gives; where there are none, its differences are
      reported and break nothing.
    to_bytes: the file's content.
    constants: those in the file's content.
    read: takes the program, the path of its file, and whether to give every
      tensor, which a runtime does for a variant of the file that is never
      saved; returns how the file runs.
  """

  file: str
  contracts: tuple[str, ...]
  to_bytes: Callable[[IntegerProgram], bytes]
  constants: Callable[[bytes], list[Constant]]
  read: Callable[[IntegerProgram, pathlib.Path, bool], Run]


def make_run(program: IntegerProgram, *, taps: bool = False) -> Run:
  """The evaluator; with `taps` it gives every tensor, as `Run` says."""
  evaluate = jit_integers(make_evaluator(program, taps=taps))

  def run(images):
    result = evaluate(images)
    return jax.device_get(result if taps else {program.output: result})

  return run


def _read_program(program, path, taps):
  return make_run(integer_program.load(path), taps=taps)


def _program_constants(content):
  return [
    Constant(record['name'], record['bits'], packing.packed_size(record))
    for record in program_file.records(content)
  ]


def _embedding(run, program):
  """Names a file's one output as the program does, in its integers."""
  tensor = program.tensors[program.output]

  def embed(images):
    (output,) = run(images).values()
    return {
      program.output: to_integers(output, tensor.scale, tensor.zero_point)
    }

  return embed


def _tflite_format(
  file: str, input_type: str = 'uint8', output_type: str = 'int8'
) -> Format:
  to_bytes = functools.partial(
    tflite.to_bytes, input_type=input_type, output_type=output_type
  )

  def read(program, path, taps):
    content = to_bytes(program, taps=True) if taps else path.read_bytes()
    digests.check(content)
    run = litert.make_runner(content, program.contract, threads=threads())
    if not taps:
      run = _embedding(run, program)
    if input_type == 'uint8':
      return run
    return lambda images: run((images ^ 128).view(np.int8))

  constants = tflite_builder.read_constants
  return Format(file, CONTRACTS, to_bytes, constants, read)


def _onnx_format(file: str, contracts: tuple[str, ...], to_model) -> Format:
  def to_bytes(program, taps=False):
    return onnx_graph.to_bytes(to_model(program, taps=taps))

  def read(program, path, taps):
    content = to_bytes(program, taps=True) if taps else path.read_bytes()
    digests.check(content)
    run = onnx_runtime.make_runner(content, threads=threads())
    return run if taps else _embedding(run, program)

  return Format(file, contracts, to_bytes, onnx_graph.read_constants, read)


FORMATS = {
  'program': Format(
    'program.safetensors',
    CONTRACTS,
    integer_program.to_bytes,
    _program_constants,
    _read_program,
  ),
  'tflite': _tflite_format('model.tflite'),
  'onnx': _onnx_format('model.onnx', ('tflite_ref',), onnx_integer.to_model),
  'onnx_qdq': _onnx_format('model_qdq.onnx', (), onnx_qdq.to_model),
  # For a camera pipeline that subtracts 128 itself.
  'tflite_int8': _tflite_format('model_int8.tflite', 'int8'),
  # For apps that take no int8, or real numbers alone.
  'tflite_uint8_embedding': _tflite_format(
    'model_uint8_embedding.tflite', output_type='uint8'
  ),
  'tflite_float_embedding': _tflite_format(
    'model_float_embedding.tflite', output_type='float32'
  ),
}
# Written unless formats are named.
_USUAL = ('program', 'tflite', 'onnx', 'onnx_qdq')


def choose_formats(names: list[str] | None, contract: str) -> list[str]:
  """The formats to write; the usual ones, for the contract, if none are named.

  Raises:
    ValueError: an unknown format, or one that cannot keep the contract.
  """
  if not names:
    return [
      name
      for name in _USUAL
      if not FORMATS[name].contracts or contract in FORMATS[name].contracts
    ]
  for name in names:
    if name not in FORMATS:
      raise ValueError(
        f'--formats={name}: there is no such format; choose from '
        f'{", ".join(FORMATS)}'
      )
    contracts = FORMATS[name].contracts
    if contracts and contract not in contracts:
      raise ValueError(
        f'--formats={name}: it gives the bits of {", ".join(contracts)}, not '
        f'those of {contract}; leave it out, or choose another --contract'
      )
  return list(dict.fromkeys(names))
