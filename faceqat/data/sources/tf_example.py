"""`tf.train.Example`, the record of TensorFlow's data sets, without TensorFlow.

Importing that takes seconds in every process that reads. The message is built
here from its published fields, with Google's protobuf: the bytes are the same.
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = 'tensorflow'


def encode(image: bytes, label: int, person: str) -> bytes:
  """The features `image` (encoded), `label` (int64) and `person` (UTF-8)."""
  example = Example()
  feature = example.features.feature
  feature['image'].bytes_list.value.append(image)
  feature['label'].int64_list.value.append(label)
  feature['person'].bytes_list.value.append(person.encode())
  return example.SerializeToString(deterministic=True)


def decode(record: bytes) -> tuple[bytes, int, str]:
  """The image, label and person of a record; no `person`: the label as text.

  Raises:
    ValueError: the bytes are no example, or it has no image or label.
  """
  try:
    feature = Example.FromString(record).features.feature
  except DecodeError as error:
    raise ValueError(f'is no tf.train.Example ({error})') from error
  # Asking a protobuf map for what it has not would add it.
  images = feature['image'].bytes_list.value if 'image' in feature else []
  labels = feature['label'].int64_list.value if 'label' in feature else []
  if len(images) != 1 or len(labels) != 1:
    raise ValueError(
      f'has the features {sorted(feature)}, wanted one image (encoded) and '
      'one label (int64)'
    )
  names = feature['person'].bytes_list.value if 'person' in feature else []
  person = names[0].decode(errors='replace') if names else str(labels[0])
  return images[0], labels[0], person


def _field(name: str, number: int, kind: int, repeated: bool, message=''):
  return _FIELD(
    name=name,
    number=number,
    type=kind,
    label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
    type_name=f'.{_PACKAGE}.{message}' if message else None,
  )


def _make_example():
  """The class of the message, in a pool that TensorFlow's is not in."""
  file = descriptor_pb2.FileDescriptorProto(
    name='faceqat/example.proto', package=_PACKAGE, syntax='proto3'
  )
  kinds = {
    'BytesList': _FIELD.TYPE_BYTES,
    'FloatList': _FIELD.TYPE_FLOAT,
    'Int64List': _FIELD.TYPE_INT64,
  }
  feature = descriptor_pb2.DescriptorProto(name='Feature')
  feature.oneof_decl.add(name='kind')
  for number, (name, kind) in enumerate(kinds.items(), 1):
    values = file.message_type.add(name=name)
    values.field.append(_field('value', 1, kind, True))
    field = f'{name.removesuffix("List").lower()}_list'
    feature.field.append(
      _field(field, number, _FIELD.TYPE_MESSAGE, False, name)
    )
    feature.field[-1].oneof_index = 0
  file.message_type.append(feature)
  features = file.message_type.add(name='Features')
  entry = features.nested_type.add(name='FeatureEntry')
  entry.options.map_entry = True
  entry.field.append(_field('key', 1, _FIELD.TYPE_STRING, False))
  entry.field.append(_field('value', 2, _FIELD.TYPE_MESSAGE, False, 'Feature'))
  features.field.append(
    _field('feature', 1, _FIELD.TYPE_MESSAGE, True, 'Features.FeatureEntry')
  )
  example = file.message_type.add(name='Example')
  example.field.append(
    _field('features', 1, _FIELD.TYPE_MESSAGE, False, 'Features')
  )
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  found = pool.FindMessageTypeByName(f'{_PACKAGE}.Example')
  return message_factory.GetMessageClass(found)


Example = _make_example()
