"""The TFLite writer: what stands in the file, and what it refuses."""

import dataclasses
import re
import struct

import flatbuffers
import flatbuffers.table
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from small_programs import (
  PROGRAM,
  network_images,
  record_network,
  small_program,
)
from tflite_file import read

from faceqat.export import litert, tflite, tflite_builder, tflite_metadata
from faceqat.integer import program as ip
from faceqat.integer.evaluator import make_evaluator

CONTRACTS = ['tflite_ref', 'xnnpack']


@pytest.mark.parametrize('contract', CONTRACTS)
@pytest.mark.parametrize('input_type', ['uint8', 'int8'])
def test_the_file_gives_the_bits_of_the_evaluator(contract, input_type):
  program = dataclasses.replace(record_network(), contract=contract)
  x = network_images()
  values = make_evaluator(program, taps=True)(x)
  if input_type == 'int8':
    x = (x.astype(np.int16) - 128).astype(np.int8)
  content = tflite.to_bytes(program, input_type=input_type)
  results = litert.make_runner(content, contract)(x)
  assert list(results) == ['normalized']
  np.testing.assert_array_equal(results['normalized'], values['normalized'])
  assert len(np.unique(results['normalized'], axis=0)) == len(x)
  content = tflite.to_bytes(program, input_type=input_type, taps=True)
  taps = litert.make_runner(content, contract)(x)
  assert taps.keys() == values.keys() == program.tensors.keys()
  for name, value in taps.items():
    np.testing.assert_array_equal(value, values[name], err_msg=name)


# What makes the program's integers of the file's outputs, which stay exact.
TO_INTEGERS = {
  'uint8': lambda outputs, tensor: (outputs ^ 128).view(np.int8),
  # One product, rounded to float32, is nearer than half a step.
  'float32': lambda outputs, tensor: np.rint(
    outputs / np.float32(tensor.scale) + tensor.zero_point
  ),
}


@pytest.mark.parametrize('contract', CONTRACTS)
@pytest.mark.parametrize('batch', [None, 8])
@pytest.mark.parametrize('output_type', TO_INTEGERS)
def test_the_ends_are_what_is_asked_for(output_type, batch, contract):
  program = dataclasses.replace(PROGRAM, contract=contract)
  images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
  content = tflite.to_bytes(program, output_type=output_type, batch=batch)
  (result,) = litert.make_runner(content, contract)(images).values()
  assert result.dtype == output_type
  np.testing.assert_array_equal(
    TO_INTEGERS[output_type](result, program.tensors[program.output]),
    make_evaluator(program)(images),
  )
  graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
  for tensor in graph.subgraphs[0].tensors:
    if tensor.buffer == 0:
      assert tensor.shape[0] == (batch or 1)
      open_batch = tensor.shapeSignature is not None
      assert open_batch == (batch is None)
  image, output = (
    graph.subgraphs[0].tensors[ends[0].tensorIndex]
    for ends in (graph.signatureDefs[0].inputs, graph.signatureDefs[0].outputs)
  )
  assert image.quantization.zeroPoint == [128]
  if output_type == 'uint8':
    assert output.quantization.zeroPoint == [128]


def test_zero_points_are_stored_once_for_each_number_of_channels():
  """They are 8 of 20 bytes of a channel, in weights and bias each."""
  sizes = [
    len(tflite.to_bytes(small_program(channels=channels)))
    for channels in (1000, 2000)
  ]
  # A weight for each of 12 inputs, an int32, two scales, and zeros once.
  per_channel = 12 + 4 + 2 * 4 + 8
  assert abs(sizes[1] - sizes[0] - 1000 * per_channel) < 64


@pytest.mark.parametrize('weight_bits', [2, 4])
def test_weights_of_four_bits_take_half_a_byte(weight_bits):
  program, x = record_network(weight_bits=weight_bits), network_images()
  wanted = make_evaluator(program)(x)
  counts = {}
  for pack_int4 in (True, False):
    content = tflite.to_bytes(program, pack_int4=pack_int4)
    result = litert.make_runner(content, 'tflite_ref')(x)['normalized']
    np.testing.assert_array_equal(result, wanted)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    tensor = read(content)[1]['embedding:weights']
    counts[pack_int4] = len(model.buffers[tensor.buffer].data)
  assert counts == {True: 24 * 16 // 2, False: 24 * 16}
  versions = {
    code: version
    for code, version, _ in read(tflite.to_bytes(program))[0]
    if 'CONV' in code
  }
  assert versions == {'CONV_2D': 7, 'DEPTHWISE_CONV_2D': 6}


def test_the_file_says_what_it_is():
  program = record_network(metadata={'model': 'small'})
  content = tflite.to_bytes(program)
  assert content[4:8] == b'TFL3'
  metadata = tflite_builder.read_metadata(content)
  assert re.fullmatch('file-sha256:[0-9a-f]{64}', metadata.pop('file_digest'))
  assert metadata == {
    'program_digest': f'program-sha256:{ip.digest(program)}',
    'contract': 'tflite_ref',
    'input': 'uint8 pixels',
    'model': 'small',
    'shapes': {'normalized': [16]},
  }
  model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
  (signature,) = model.signatureDefs
  assert signature.signatureKey == b'serving_default'
  tensors = model.subgraphs[0].tensors
  pixels, embedding = (
    tensors[maps[0].tensorIndex]
    for maps in (signature.inputs, signature.outputs)
  )
  assert (signature.inputs[0].name, pixels.type) == (
    b'image',
    schema.TensorType.UINT8,
  )
  assert (signature.outputs[0].name, embedding.name) == (
    b'embedding',
    b'normalized',
  )
  assert list(pixels.shapeSignature) == [-1, 16, 16, 3]
  assert list(embedding.shapeSignature) == [-1, 16]


def test_tensors_carry_the_scales_of_the_program():
  program = record_network()
  operators, tensors = read(tflite.to_bytes(program))
  for name, tensor in program.tensors.items():
    quantization = tensors[name].quantization
    assert list(quantization.scale) == [tensor.scale]
    assert list(quantization.zeroPoint) == [tensor.zero_point]
  stem = program.operators[0]
  bias = np.float32(1 / 128) * stem.weight_scale
  np.testing.assert_array_equal(tensors['stem:bias'].quantization.scale, bias)
  for layer, axis, channels in (('stem', 0, 8), ('block/depthwise', 3, 8)):
    weights = tensors[f'{layer}:weights']
    assert weights.quantization.quantizedDimension == axis
    assert len(weights.quantization.scale) == channels
  versions = {(code, version) for code, version, _ in operators}
  # The first version of each that has int8 operands, of convolution a scale
  # per channel, of MUL a factor of 1 or more (not here).
  assert versions == {
    ('QUANTIZE', 1),
    ('PAD', 2),
    ('CONV_2D', 3),
    ('DEPTHWISE_CONV_2D', 3),
    ('PRELU', 1),
    ('ADD', 1),  # Of int32.
    ('ADD', 2),
    ('MEAN', 2),
    ('LOGISTIC', 2),
    ('CAST', 3),
    ('GATHER', 2),
    ('MUL', 2),
    ('MAX_POOL_2D', 2),
    ('AVERAGE_POOL_2D', 2),
    ('CONCATENATION', 2),
    ('RESHAPE', 1),
    ('MAXIMUM', 2),
    ('L2_NORMALIZATION', 2),
  }


def test_constants_are_aligned():
  content = tflite.to_bytes(record_network())
  model = schema.Model.GetRootAs(content)
  start = np.frombuffer(content, np.uint8).ctypes.data
  offsets = [
    model.Buffers(index).DataAsNumpy().ctypes.data - start
    for index in range(1, model.BuffersLength())
  ]
  assert len(offsets) > 15
  assert all(offset % 16 == 0 for offset in offsets)


def test_int4_is_refused_where_xnnpack_has_no_kernel():
  program = dataclasses.replace(
    record_network(weight_bits=4), contract='xnnpack'
  )
  with pytest.raises(
    ValueError, match=r"'stem' \(Conv2D\): has 4-bit .* no int4 convolution"
  ):
    tflite.to_bytes(program, pack_int4=True)
  content = tflite.to_bytes(program)
  result = litert.make_runner(content, 'xnnpack')(network_images())[
    'normalized'
  ]
  np.testing.assert_array_equal(
    result, make_evaluator(program)(network_images())
  )


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'input_type': 'float32'}, r"'float32'; .* \['int8', 'uint8'\]"),
    ({'output_type': 'int4'}, r"'int4'; .* \['float32', 'int8', 'uint8'\]"),
    ({'batch': 0}, 'batch is 0; .* at least 1, or None'),
  ],
)
def test_unknown_ends_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    tflite.to_bytes(PROGRAM, **options)


def test_a_program_that_could_overflow_is_refused():
  program = record_network()
  program.operators[0].bias[:] = 2**31 - 1
  with pytest.raises(ValueError, match=r"'stem' \(Conv2D\): .* can reach"):
    tflite.to_bytes(program)


# An image; a vector that the file reshapes twice.
@pytest.mark.parametrize('output', ['stem', 'flatten'])
def test_the_output_may_be_that_of_any_operator(output):
  program = record_network()
  names = [operator.name for operator in program.operators]
  kept = program.operators[: names.index(output) + 1]
  tensors = {
    name: program.tensors[name]
    for name in (program.input, *(operator.name for operator in kept))
  }
  program = ip.IntegerProgram(tensors, kept, program.input, output)
  result = litert.make_runner(tflite.to_bytes(program), 'tflite_ref')(
    network_images()
  )
  np.testing.assert_array_equal(
    result[output], make_evaluator(program)(network_images())
  )


class _Slots:
  """A table of a FlatBuffer, read by the numbers of its slots."""

  def __init__(self, content, offset=0):
    (start,) = struct.unpack_from('<I', content, offset)
    self._table = flatbuffers.table.Table(content, offset + start)

  def _at(self, slot):
    return self._table.Pos + self._table.Offset(4 + 2 * slot)

  def byte(self, slot):
    return self._table.Bytes[self._at(slot)]

  def text(self, slot):
    return self._table.String(self._at(slot))

  def table(self, slot):
    return _Slots(self._table.Bytes, self._at(slot))

  def only(self, slot):
    """The one table of a list."""
    assert self._table.VectorLen(self._at(slot) - self._table.Pos) == 1
    start = self._table.Vector(self._at(slot) - self._table.Pos)
    return _Slots(self._table.Bytes, start)

  def number(self, slot):
    """The one float32 of a list."""
    at = self._at(slot) - self._table.Pos
    assert self._table.VectorLen(at) == 1
    return struct.unpack_from('<f', self._table.Bytes, self._table.Vector(at))[
      0
    ]


def test_the_standard_metadata_says_how_pixels_become_real_numbers():
  """Against the slots of TFLite's metadata_schema.fbs."""
  content = tflite.to_bytes(PROGRAM)
  model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
  entries = {entry.name: entry.buffer for entry in model.metadata}
  buffer = model.buffers[entries[tflite_metadata.NAME.encode()]]
  standard = bytes(buffer.data)
  assert standard[4:8] == b'M001'
  graph = _Slots(standard).only(3)
  image, embedding = graph.only(2), graph.only(3)
  assert (image.text(0), embedding.text(0)) == (b'image', b'embedding')
  # ImageProperties, and its RGB.
  assert image.table(3).byte(0) == 2
  assert image.table(3).table(1).byte(0) == 1
  # NormalizationOptions, and its mean and std.
  unit = image.only(4)
  assert unit.byte(0) == 1
  assert (unit.table(1).number(0), unit.table(1).number(1)) == (128, 128)
  # FeatureProperties.
  assert embedding.table(3).byte(0) == 1
