"""The standard metadata of a TFLite file, which tells apps about its tensors.

A FlatBuffer of its own inside the file. The numbers are the slots of TFLite's
`metadata_schema.fbs`; what is not written has its default there.
"""

from collections.abc import Callable, Mapping, Sequence

import flatbuffers

# Of the entry in the file's own list of metadata.
NAME = 'TFLITE_METADATA'

_FILE_IDENTIFIER = b'M001'
# The first that knows normalisation.
_MIN_PARSER_VERSION = '1.0.0'
# Members of the schema's enumerations and unions.
_RGB, _IMAGE, _FEATURES, _NORMALIZATION = 1, 2, 1, 1
# Real pixels are (pixel - 128) / 128.
_MEAN = _STD = 128.0

# A field of a table: what adds a value to a slot, and the value.
_Field = tuple[Callable, int]


def to_bytes(input_name: str, output_name: str) -> bytes:
  """Describes a network from an RGB image to an embedding.

  Args:
    input_name: of the image, whose real pixels are (pixel - 128) / 128.
    output_name: of the embedding, which has no labels.

  Returns:
    A FlatBuffer 'ModelMetadata'.
  """
  builder = flatbuffers.Builder(512)
  image = _tensor(
    builder,
    input_name,
    'Aligned RGB face',
    _union(
      builder,
      _IMAGE,
      _table(builder, {0: (builder.PrependInt8Slot, _RGB)}),
    ),
    _union(
      builder,
      _NORMALIZATION,
      _table(
        builder,
        _offsets(
          builder,
          {0: _floats(builder, [_MEAN]), 1: _floats(builder, [_STD])},
        ),
      ),
    ),
  )
  embedding = _tensor(
    builder,
    output_name,
    'Face embedding, compared by cosine',
    _union(builder, _FEATURES, _table(builder, {})),
  )
  graph = _table(
    builder,
    _offsets(
      builder,
      {2: _vector(builder, [image]), 3: _vector(builder, [embedding])},
    ),
  )
  model = _table(
    builder,
    _offsets(
      builder,
      {
        0: builder.CreateString('faceqat'),
        3: _vector(builder, [graph]),
        7: builder.CreateString(_MIN_PARSER_VERSION),
      },
    ),
  )
  builder.Finish(model, _FILE_IDENTIFIER)
  return bytes(builder.Output())


def _tensor(builder, name, description, content, process_unit=None) -> int:
  """A 'TensorMetadata'."""
  fields = {
    0: builder.CreateString(name),
    1: builder.CreateString(description),
    3: content,
  }
  if process_unit is not None:
    fields[4] = _vector(builder, [process_unit])
  return _table(builder, _offsets(builder, fields))


def _union(builder, kind: int, value: int) -> int:
  """A table of a union alone: its member's number, and the member."""
  fields = {0: (builder.PrependUint8Slot, kind)}
  return _table(builder, {**fields, **_offsets(builder, {1: value})})


def _offsets(builder, values: Mapping[int, int]) -> dict[int, _Field]:
  add = builder.PrependUOffsetTRelativeSlot
  return {slot: (add, offset) for slot, offset in values.items()}


def _table(builder, fields: Mapping[int, _Field]) -> int:
  """A table; nothing that it refers to may be made after it was started."""
  builder.StartObject(max(fields, default=-1) + 1)
  for slot, (add, value) in fields.items():
    add(slot, value, 0)
  return builder.EndObject()


def _vector(builder, offsets: Sequence[int]) -> int:
  builder.StartVector(4, len(offsets), 4)
  for offset in reversed(offsets):
    builder.PrependUOffsetTRelative(offset)
  return builder.EndVector()


def _floats(builder, values: Sequence[float]) -> int:
  builder.StartVector(4, len(values), 4)
  for value in reversed(values):
    builder.PrependFloat32(value)
  return builder.EndVector()
