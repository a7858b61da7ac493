"""Writes the metrics of a run as lines of JSON, and reads them to plot."""

import json
import pathlib
import time

import numpy as np

from faceqat.files import json_fields, strict_json
from faceqat.training import distributed

# The metrics of the figure of a training, in its order; TensorBoard has all.
CURVES = (
  'train/loss',
  'validation/loss',
  'train/accuracy',
  'train/positive_fraction',
  'validation/accuracy',
  'validation/verification_accuracy',
  'train/learning_rate',
)


class MetricLog:
  """Writes scalars for TensorBoard, and to `metrics.jsonl` for the figures.

  Of several processes the first one writes; all have the same values.
  """

  def __init__(self, workdir: pathlib.Path):
    self._workdir = workdir
    self._events = None

  def write(self, step: int, values: dict[str, float]):
    """Adds the values of a step, by name."""
    if not distributed.is_first():
      return
    # A run that is finished already writes nothing, and leaves no file.
    if self._events is None:
      # TensorBoard is large, and whoever reads a history needs none of it.
      from faceqat.training.events import EventFile

      self._events = EventFile(self._workdir)
      _drop_torn_line(_path(self._workdir))
    tagged = {_tag(name): value for name, value in values.items()}
    self._events.write(step, tagged)
    line = json.dumps({'step': step, 'time': time.time(), **values})
    with _path(self._workdir).open('a') as file:
      file.write(line + '\n')

  def close(self):
    if self._events is not None:
      self._events.close()


def read_curves(
  workdir: pathlib.Path,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Reads what `MetricLog` wrote.

  A run that went on from a checkpoint has some steps twice; the later line of
  a step counts. A last line that is not whole is left out: it was being
  written.

  Returns:
    By name: steps [T] and values [T]; empty where nothing was written.

  Raises:
    ValueError: another line is damaged.
  """
  path = _path(workdir)
  if not path.exists():
    return {}
  curves: dict[str, dict[int, float]] = {}
  lines = path.read_text(errors='replace').splitlines()
  for number, line in enumerate(lines, 1):
    try:
      values = strict_json.parse(line, dict)
      json_fields.check_curve(values)
      step = values.pop('step')
    except ValueError as error:
      if number == len(lines):
        break
      raise ValueError(
        f'{path}, line {number} is damaged ({error}); take that line out'
      ) from error
    for name, value in values.items():
      curves.setdefault(name, {})[step] = value
  return {
    name: (
      np.array(sorted(points)),
      np.array([points[s] for s in sorted(points)]),
    )
    for name, points in curves.items()
  }


def _drop_torn_line(path: pathlib.Path):
  """Cuts off a last line that is not whole: the next would join it."""
  if path.exists():
    with path.open('rb+') as file:
      file.truncate(file.read().rfind(b'\n') + 1)


def _tag(name: str) -> str:
  """TensorBoard sorts by name: losses come before a hundred ranges."""
  return f'watch/{name}' if name.startswith('ranges/') else name


def _path(workdir: pathlib.Path) -> pathlib.Path:
  return pathlib.Path(workdir) / 'metrics.jsonl'
