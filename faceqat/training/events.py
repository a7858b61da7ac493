"""Writes scalars for TensorBoard without TensorFlow."""

import os
import pathlib
import socket
import time

from tensorboard.compat.proto import event_pb2, summary_pb2

from faceqat.data.sources.crc32c import masked_crc32c


class EventFile:
  """A file of TensorBoard's events: TFRecords of `Event` messages.

  tensorboard's own `EventFileWriter` imports TensorFlow, which takes seconds,
  wherever that is installed, and its `RecordWriter` what takes one. And it
  holds events back for up to two minutes, which a killed run loses; here each
  `write` goes to the file at once.
  """

  def __init__(self, folder: str | os.PathLike):
    """Makes the file in an existing folder, where TensorBoard looks for it."""
    # A run writes a file each time it goes on; TensorBoard reads them in the
    # order of their names. One process may make two in a second.
    name = f'{time.time():.6f}.{socket.gethostname()}.{os.getpid()}'
    path = pathlib.Path(folder) / f'events.out.tfevents.{name}'
    self._file = path.open('xb')
    self._add(file_version='brain.Event:2')

  def write(self, step: int, values: dict[str, float]):
    """Adds the values of a step, by name; they become float32."""
    summary = summary_pb2.Summary()
    for name, value in values.items():
      summary.value.add(tag=name, simple_value=value)
    self._add(step=step, summary=summary)

  def close(self):
    self._file.close()

  def _add(self, **fields):
    event = event_pb2.Event(wall_time=time.time(), **fields)
    content = event.SerializeToString()
    length = len(content).to_bytes(8, 'little')
    for part in (length, content):
      checksum = masked_crc32c(part).to_bytes(4, 'little')
      self._file.write(part + checksum)
    self._file.flush()
