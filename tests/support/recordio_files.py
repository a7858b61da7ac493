"""Packs of MXNet's RecordIO, record by record."""

import struct

import numpy as np

MAGIC = struct.pack('<I', 0xCED7230A)


def payload(label, data, key=0):
  """One image record; a list of labels becomes a label vector."""
  if isinstance(label, list):
    header = struct.pack('<IfQQ', len(label), 0.0, key, 0)
    return header + struct.pack(f'<{len(label)}f', *label) + data
  return struct.pack('<IfQQ', 0, label, key, 0) + data


def frame(data):
  """The record of a payload, cut wherever it has the magic at a word."""
  pieces, start = [], 0
  for at in range(0, len(data) - 3, 4):
    if data[at : at + 4] == MAGIC:
      pieces.append(data[start:at])
      start = at + 4
  pieces.append(data[start:])
  last = len(pieces) - 1
  record = b''
  for index, piece in enumerate(pieces):
    flag = 0 if last == 0 else 1 if index == 0 else 3 if index == last else 2
    record += MAGIC + struct.pack('<I', flag << 29 | len(piece))
    record += piece + bytes(-len(piece) % 4)
  return record


def write_pack(folder_path, payloads, *, keys=None, index=True):
  """Writes train.rec and train.idx; returns the path and the offsets."""
  path = folder_path / 'train.rec'
  records = [frame(data) for data in payloads]
  offsets = np.cumsum([0, *map(len, records)]).tolist()
  path.write_bytes(b''.join(records))
  if index:
    keys = range(len(records)) if keys is None else keys
    lines = [f'{key}\t{offset}\n' for key, offset in zip(keys, offsets)]
    (folder_path / 'train.idx').write_text(''.join(lines))
  return path, offsets
