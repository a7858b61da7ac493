"""Fingerprints: how faces were cut out of their photographs.

A network that meets another alignment than in training, or BGR in place of RGB,
works badly and gives no sign. So there is a fingerprint in a data set's
`faces.json`, in the config of a run's checkpoints, and in the metadata of a
program and its exports. Two that differ are an error; one that is missing is
reported.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from faceqat.fields import check_value
from faceqat.files import atomic, strict_json
from faceqat.files.image_size import (
  ImageSize,
  height_width,
  of_text,
  to_json,
  to_text,
)

FILE_NAME = 'faces.json'
CHANNELS = ('RGB', 'BGR')
# The template of faces of which nothing is known.
UNKNOWN = 'unknown'
# The template of the faces in data/drawn, which lie on no other: on 4,000 of
# them, in pixels of 112, eyes are 28 apart and the mouth is 29 below, where the
# ArcFace template has 35 and 41, and each point strays by 4 to 6. With networks
# for photographs they give results that mean little, which is a warning.
DRAWN = 'drawn'

_MAX_BYTES = 100_000
# In the metadata of every program before there were fingerprints.
_UNSTATED = 'arcface_112'


@dataclasses.dataclass(frozen=True)
class Fingerprint:
  """The faces of a data set, or those that a network is for.

  Attributes:
    template: 'arcface' or 'sphereface' (five points, given for 112x112 and
      112x96 and scaled), 'margin_32' (the detector's box and a margin), a name
      of the user's own, 'drawn' or 'unknown'.
    size: height and width in pixels, a pair whatever was given.
    channels: 'RGB', or 'BGR' where files were written with blue and red
      exchanged.
    normalization: of the values; 'uint8' for pixels as they are.
    weights: of a network that began with another project's weights, the
      project and the pixels that they saw; else ''.
  """

  template: str
  size: ImageSize
  channels: str = 'RGB'
  normalization: str = 'uint8'
  weights: str = ''

  def __post_init__(self):
    for name in ('template', 'normalization'):
      value = getattr(self, name)
      if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f'{name} is {value!r}, wanted a name')
    if not isinstance(self.weights, str) or not self.weights.isprintable():
      raise ValueError(f'weights is {self.weights!r}, wanted text')
    object.__setattr__(self, 'size', height_width(self.size, 'size'))
    check_value('channels', self.channels, CHANNELS)


def path_of(path: str | os.PathLike) -> pathlib.Path:
  """The file of a data set's fingerprint: in the folder, or beside the pack.

  >>> path_of('sets/x.rec').name
  'x.faces.json'
  """
  path = pathlib.Path(path)
  if path.suffix and not path.is_dir():
    return path.with_name(f'{path.stem}.{FILE_NAME}')
  return path / FILE_NAME


def write(fingerprint: Fingerprint, path: str | os.PathLike):
  """Writes the fingerprint of the data set `path`; a folder has to exist."""
  fields = to_fields(fingerprint)
  if not fingerprint.weights:
    del fields['weights']
  text = json.dumps(fields, indent=2)
  atomic.write(path_of(path), f'{text}\n'.encode())


def read(path: str | os.PathLike) -> Fingerprint | None:
  """Reads the fingerprint of the data set `path`; None if it has none.

  Raises:
    ValueError: the file is damaged.
  """
  name = path_of(path)
  try:
    with open(name, 'rb') as file:
      content = file.read(_MAX_BYTES)
  except (FileNotFoundError, NotADirectoryError):
    return None
  try:
    return of_fields(strict_json.parse(content))
  except ValueError as error:
    raise ValueError(
      f'{name} is no fingerprint of faces: {error}; correct it, or remove it '
      'and the faces are taken as they are'
    ) from error


def to_fields(fingerprint: Fingerprint) -> dict[str, Any]:
  """The fields as JSON and configs have them."""
  fields = dataclasses.asdict(fingerprint)
  return {**fields, 'size': to_json(fingerprint.size)}


def of_fields(fields: Any) -> Fingerprint:
  """A fingerprint from its fields, as JSON has them, and any others.

  Raises:
    ValueError: a field other than `weights` is missing, or one is wrong.
  """
  names = [field.name for field in dataclasses.fields(Fingerprint)]
  if not isinstance(fields, dict):
    raise ValueError(f'wanted an object of {", ".join(names)}')
  fields = {'weights': '', **fields}
  missing = [name for name in names if name not in fields]
  if missing:
    raise ValueError(f'it does not say {", ".join(missing)}')
  return Fingerprint(**{name: fields[name] for name in names})


def of_run(config: Mapping[str, Any]) -> Fingerprint | None:
  """The fingerprint in the config of a run; None if it has none."""
  fields = config.get('fingerprint')
  return of_fields(dict(fields)) if fields else None


def to_metadata(fingerprint: Fingerprint) -> dict[str, str]:
  """The fields as the metadata of programs and exports has them."""
  weights = fingerprint.weights
  return {
    'alignment': fingerprint.template,
    'image_size': to_text(fingerprint.size),
    'channel_order': fingerprint.channels,
    'normalization': fingerprint.normalization,
    **({'pretrained_weights': weights} if weights else {}),
  }


def of_metadata(metadata: Mapping[str, Any]) -> Fingerprint | None:
  """The fingerprint of metadata that `to_metadata` wrote; None without one.

  Raises:
    ValueError: a field is missing or wrong.
  """
  if metadata.get('alignment', _UNSTATED) == _UNSTATED:
    return None
  try:
    return Fingerprint(
      metadata['alignment'],
      of_text(str(metadata['image_size'])),
      metadata['channel_order'],
      metadata['normalization'],
      metadata.get('pretrained_weights', ''),
    )
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      'its metadata does not say for which faces it is '
      f'({type(error).__name__}: {error}); export the network again'
    ) from error


def check(
  found: Fingerprint | None,
  wanted: Fingerprint | None,
  found_in: str,
  wanted_by: str,
  *,
  field: str = '',
):
  """Refuses faces for a network, or a set, of others, as far as both say.

  Sizes are not compared: images of another size are resized or refused where
  they are read.

  Args:
    found: of a data set; None: it has none.
    wanted: of a network, or of another data set.
    found_in: the data set's path, for the message.
    wanted_by: the network or set, for the message.
    field: of the config, where the user may correct `faces.json`.

  Raises:
    ValueError: they differ; it names both, and the remedy.
  """
  if found is None or wanted is None:
    return
  names = ['channels', 'normalization']
  if names_template(found) and names_template(wanted):
    names.insert(0, 'template')
  for name in names:
    there, here = getattr(found, name), getattr(wanted, name)
    if there == here:
      continue
    correct = f'correct its {FILE_NAME}'
    if field:
      correct = f'{correct} or give --config.{field}.{name}={here}'
    raise ValueError(
      f'{found_in} has faces of {name} {there!r}, {wanted_by} is for {here!r}: '
      'cut them out of their photographs again with python -m faceqat.prepare, '
      f'or, where {found_in} is described wrongly, {correct}'
    )


def warn_of_drawn(
  found: Fingerprint | None,
  wanted: Fingerprint | None,
  found_in: str,
  wanted_by: str,
) -> list[str]:
  """Warns of drawn faces for a network for photographs, and of the reverse.

  Args:
    found, wanted, found_in, wanted_by: see `check`. A data set without a
      fingerprint is not drawn; of a network without one nothing is known.

  Returns:
    A sentence for the user, or none.
  """
  is_drawn = found is not None and found.template == DRAWN
  if wanted is None or is_drawn == (wanted.template == DRAWN):
    return []
  if is_drawn:
    return [
      f'WARNING: {wanted_by} was trained on faces of template '
      f'{wanted.template!r}, and {found_in} has drawn faces: results on these '
      'say nothing about photographs'
    ]
  return [
    f'WARNING: {wanted_by} was trained on drawn faces, and {found_in} does not '
    'say that its faces are drawn: such a network knows nothing of '
    'photographs, and gives high scores to anybody; train it on photographs'
  ]


def is_stated(fingerprint: Fingerprint | None) -> bool:
  """Whether there is a fingerprint with a known template."""
  return fingerprint is not None and fingerprint.template != UNKNOWN


def names_template(fingerprint: Fingerprint | None) -> bool:
  """Whether there is a fingerprint with a template of photographs."""
  return fingerprint is not None and fingerprint.template not in (
    UNKNOWN,
    DRAWN,
  )


def most_telling(found: Sequence[Fingerprint | None]) -> Fingerprint | None:
  """The first with a template of photographs, else the first stated one."""
  for says in (names_template, is_stated):
    if telling := next(filter(says, found), None):
      return telling
  return found[0]


def unstated(what: str) -> str:
  """The sentence on a data set or network without a fingerprint."""
  return f'{what} does not say how its faces are aligned; it is taken as it is'
