"""`tf.train.Example`, the record of TensorFlow's data sets, without TensorFlow.

Importing that takes seconds in every process that reads. The message is made
here of its published fields, with Google's protobuf: the bytes are the same.
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example
"""

from google.protobuf import (
  descriptor_pb2,
  descriptor_pool,
  message_factory,
  text_format,
)
from google.protobuf.message import DecodeError

_FILE = """
  name: "faceqat/example.proto" package: "tensorflow" syntax: "proto3"
  message_type { name: "BytesList" field {
    name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
  message_type { name: "FloatList" field {
    name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
  message_type { name: "Int64List" field {
    name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
  message_type { name: "Feature" oneof_decl { name: "kind" }
    field { name: "bytes_list" number: 1 oneof_index: 0
      type: TYPE_MESSAGE type_name: ".tensorflow.BytesList" }
    field { name: "float_list" number: 2 oneof_index: 0
      type: TYPE_MESSAGE type_name: ".tensorflow.FloatList" }
    field { name: "int64_list" number: 3 oneof_index: 0
      type: TYPE_MESSAGE type_name: ".tensorflow.Int64List" } }
  message_type { name: "Features"
    nested_type { name: "FeatureEntry" options { map_entry: true }
      field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "value" number: 2 label: LABEL_OPTIONAL
        type: TYPE_MESSAGE type_name: ".tensorflow.Feature" } }
    field { name: "feature" number: 1 label: LABEL_REPEATED
      type: TYPE_MESSAGE type_name: ".tensorflow.Features.FeatureEntry" } }
  message_type { name: "Example" field { name: "features" number: 1
    type: TYPE_MESSAGE type_name: ".tensorflow.Features" } }
"""


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
  # Looking up a name that a protobuf map lacks would add it.
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


def _message_class():
  """In a pool of its own: TensorFlow's has a message of this name too."""
  pool = descriptor_pool.DescriptorPool()
  pool.Add(text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto()))
  return message_factory.GetMessageClass(
    pool.FindMessageTypeByName('tensorflow.Example')
  )


Example = _message_class()
