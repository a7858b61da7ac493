"""Recognises the format of a weight file by its content.

Names say little: `torch.save` writes `.pth`, `.pt`, `.ckpt`, `.pth.tar`, `.pkl`
and `.bin`, and a `.pth` may be anything.
"""

import os
import re

# PyTorch writes a zip archive; before 1.6 pickles, of protocol 2 or later.
_PYTORCH = (b'PK\x03\x04', b'\x80')
# MXNet's list of arrays: a magic number and a reserved 0, both uint64.
_MXNET = (0x112).to_bytes(8, 'little') + bytes(8)
# The field ir_version of a model.
_ONNX = tuple(bytes([0x08, version]) for version in range(1, 32))
# A JSON object follows the length of a safetensors header.
_JSON_AT = 8
# The ends of a TensorFlow checkpoint's files.
_TENSORFLOW = re.compile(r'\.(index|meta|data-\d{5}-of-\d{5})$')


def format_of(path: str | os.PathLike) -> str:
  """'PyTorch', 'safetensors', 'ONNX', 'MXNet' or 'TensorFlow'.

  Args:
    path: a file; of TensorFlow the prefix of a checkpoint, or one of its files.

  Raises:
    ValueError: names the file. It cannot be opened, or has another format.
  """
  path = os.fspath(path)
  if tensorflow_prefix(path):
    return 'TensorFlow'
  start = read_bytes(path, 'weight file', 16)
  if start.startswith(_PYTORCH):
    return 'PyTorch'
  if start == _MXNET:
    return 'MXNet'
  if start[_JSON_AT : _JSON_AT + 1] == b'{':
    return 'safetensors'
  if start.startswith(_ONNX):
    return 'ONNX'
  what = f'begins with {start[:8].hex(" ")}' if start else 'is empty'
  raise ValueError(
    f'{path} {what}, which no weight file does: wanted what torch.save wrote, '
    'safetensors, ONNX, .params of MXNet or a checkpoint of TensorFlow. It is '
    'damaged, cut short or packed: get it again, or unpack it'
  )


def read_bytes(path: str, kind: str, size: int = -1) -> bytes:
  """The content of a file, or its first `size` bytes.

  Raises:
    ValueError: the file, a `kind`, cannot be opened.
  """
  try:
    with open(path, 'rb') as file:
      return file.read(size)
  except OSError as error:
    raise ValueError(
      f'The {kind} {path} cannot be read: {error.strerror}'
    ) from None


def tensorflow_prefix(path: str | os.PathLike) -> str | None:
  """The prefix of a TensorFlow checkpoint's files; None if it is none."""
  prefix = _TENSORFLOW.sub('', os.fspath(path))
  return prefix if os.path.isfile(f'{prefix}.index') else None
