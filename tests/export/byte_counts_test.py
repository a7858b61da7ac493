"""Which bytes of a file are which, by files as they are written."""

import pytest
from small_programs import record_network

from faceqat.export import byte_counts
from faceqat.export.byte_counts import Constant
from faceqat.export.formats import FORMATS
from faceqat.integer import operators as ops

# Bits of the program's weights, and as what each format stores them.
STORED = {
  'program': {2: 2, 3: 3, 4: 4, 5: 5, 8: 8},
  'tflite': {2: 4, 3: 4, 4: 4, 5: 8, 8: 8},
  'onnx': {2: 2, 3: 4, 4: 4, 5: 8, 8: 8},
  'onnx_qdq': {2: 8, 3: 8, 4: 8, 5: 8, 8: 8},
}


@pytest.mark.parametrize('name', STORED)
@pytest.mark.parametrize('bits', [2, 3, 4, 5, 8])
def test_weights_take_the_bits_that_the_format_has_for_them(name, bits):
  program = record_network(weight_bits=bits)
  content = FORMATS[name].to_bytes(program)
  counts = byte_counts.by_part(content, FORMATS[name].constants(content))
  assert sum(counts.values()) == len(content)
  sizes = [
    operator.weights.size
    for operator in program.operators
    if isinstance(operator, ops.Weighted)
  ]
  stored = STORED[name][bits]
  wanted = {stored: sum(-(-size * stored // 8) for size in sizes)}
  # The rise of a PReLU that is a sum always has 8 bits.
  wanted[8] = wanted.get(8, 0) + 8
  found = {
    int(part.split()[1]): count
    for part, count in counts.items()
    if part.startswith('weights')
  }
  assert found == wanted


def test_all_that_is_no_constant_is_the_rest():
  constants = [
    Constant('a/b:weights', 4, 30),
    Constant('c:weights_uint4', 4, 3),
    Constant('c:weights_quantized_scale', 32, 5),
    Constant('d:weight_scale', 32, 2),
    Constant('d:bias', 32, 7),
    Constant('e:alpha_quantized', 8, 11),
    Constant('int32:128', 32, 4),
  ]
  found = byte_counts.by_part(bytes(100), constants)
  assert found == {
    'weights, 4 bits': 33,
    'scales': 7,
    'biases': 7,
    'slopes': 11,
    byte_counts.OTHER: 4,
    byte_counts.REST: 38,
  }
  lines = str(byte_counts.parts_table({'a': found, 'b': {'scales': 1}}))
  assert [line.split()[-2:] for line in lines.splitlines()[2:]] == [
    ['33', '0'],
    ['7', '1'],
    ['7', '0'],
    ['11', '0'],
    ['4', '0'],
    ['38', '0'],
    ['100', '1'],
  ]
