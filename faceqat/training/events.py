"""Scalars for TensorBoard, written without TensorFlow."""

import os
import pathlib
import socket
import time

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter


class EventFile:
  """A file of TensorBoard's events: TFRecords of `Event` messages.

  Its messages and its framing are tensorboard's own. tensorboard's
  `EventFileWriter` has neither of two properties: it imports TensorFlow, which
  takes seconds, wherever that is installed; and it keeps for up to two minutes
  what a run that is killed then loses. Here each `write` goes to the file.
  """

  def __init__(self, folder: str | os.PathLike):
    """Makes the file, named as TensorBoard looks for it, in a folder there."""
    # TensorBoard takes the files of a folder, one for each time that the run
    # went on, in the order of their names. Microseconds tell apart those of
    # one process.
    name = f'{time.time():.6f}.{socket.gethostname()}.{os.getpid()}'
    path = pathlib.Path(folder) / f'events.out.tfevents.{name}'
    self._records = RecordWriter(path.open('xb'))
    self._add(file_version='brain.Event:2')

  def write(self, step: int, values: dict[str, float]):
    """Adds the values of a step by their names; they become float32."""
    summary = summary_pb2.Summary()
    for name, value in values.items():
      summary.value.add(tag=name, simple_value=value)
    self._add(step=step, summary=summary)

  def close(self):
    """Closes the file."""
    self._records.close()

  def _add(self, **fields):
    event = event_pb2.Event(wall_time=time.time(), **fields)
    self._records.write(event.SerializeToString())
    self._records.flush()
