"""Folds the pixels that other projects trained on into their weights.

The model reads (pixel - 128) / 128 of RGB: the camera's bytes are its int8
input. For other pixels the first kernel's channels are reordered and scaled,
and another mean is taken off the mean of the batch norm behind it. Within the
image that is the same function.

At a padded border it is not: the original pads with pixel `mean`, the model
with pixel 128. A mean of 127.5 is half a level away; a mean of 0, of pixels
that were divided by 255, makes a grey border black. Measured the other way
round, with MobileFaceNet y1, which learnt with grey, and 120 faces of LFW:

* A black border makes 1 - cosine of the embeddings 1e-3 on average and 7e-3 at
  most. Training on makes up for it.
* Exchanged channels make 7e-2 and 0.2.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from faceqat.fields import check_value

_ORDERS = ('RGB', 'BGR')
# The pixel with which the model pads.
_MODEL_PADS = 128
# In levels: int8 has nothing nearer to 127.5.
_NEAR = 1
_SOURCE = 'pretrained_pixels'


@dataclasses.dataclass(frozen=True)
class Pixels:
  """The input of a network, (pixel - mean) / scale.

  >>> str(Pixels('BGR', (0,), (255,)))
  'BGR, pixel / 255'

  Attributes:
    channels: their order, 'RGB' or 'BGR'.
    mean: in levels of 0..255; one for all channels, or three in that order.
    scale: likewise, and not 0.
  """

  channels: str = 'RGB'
  mean: tuple[float, ...] = (127.5,)
  scale: tuple[float, ...] = (127.5,)

  def __post_init__(self):
    check_value(f'{_SOURCE}.channels', self.channels, _ORDERS)
    for name in ('mean', 'scale'):
      values = getattr(self, name)
      numbers = isinstance(values, tuple) and all(
        isinstance(value, int | float) and np.isfinite(value)
        for value in values
      )
      if not numbers or len(values) not in (1, 3):
        raise ValueError(
          f'{_SOURCE}.{name} is {values!r}; give one number in levels of 0 to '
          '255, such as 127.5, or three, in the order of the channels'
        )
    if 0 in self.scale:
      raise ValueError(f'{_SOURCE}.scale is {self.scale!r}; no pixel is left')

  def __str__(self):
    of_0 = 'pixel' if self.mean == (0,) else f'(pixel - {_levels(self.mean)})'
    return f'{self.channels}, {of_0} / {_levels(self.scale)}'

  def fold(self, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first convolution's kernel, for the model's input.

    Args:
      kernel: [kh, kw, 3, O] float64, for the network's input.

    Returns:
      The kernel for (pixel - 128) / 128 of RGB, and the [O] that its output
      lacks within the image.

    Raises:
      ValueError: the kernel does not have three input channels.
    """
    if kernel.shape[2] != 3:
      raise ValueError(
        f'its first convolution has {kernel.shape[2]} input channels, wanted 3'
      )
    mean = np.broadcast_to(np.float64(self.mean), 3)
    scale = np.broadcast_to(np.float64(self.scale), 3)
    shift = np.einsum('hwio,i->o', kernel, (_MODEL_PADS - mean) / scale)
    kernel = kernel * (128 / scale)[:, np.newaxis]
    return kernel[:, :, :: 1 if self.channels == 'RGB' else -1], shift

  def border_note(self) -> str:
    """A sentence on the border of a first convolution that pads; or ''."""
    furthest = max(abs(_MODEL_PADS - mean) for mean in self.mean)
    if furthest <= _NEAR:
      return ''
    return (
      f'. It padded its border with pixel {_levels(self.mean)}, this model '
      f'pads with {_MODEL_PADS}, which training on makes up for (1 - cosine of '
      'about 0.001 before)'
    )


class SeveralProjectsError(ValueError):
  """Projects that saw different pixels have such names of tensors."""


class Project(NamedTuple):
  """A project whose weights can be read; the epsilon is of its batch norms."""

  name: str
  pixels: Pixels
  epsilon: float = 1e-5


class Imported(NamedTuple):
  """Weights in the model's layout, and their origin.

  Attributes:
    values: float32 arrays by path in the model's variables.
    project: whose they are, or are like; with the pixels that were folded.
  """

  values: dict[str, np.ndarray]
  project: Project


def choose(
  candidates: Sequence[Project], given: Mapping[str, Any] | None = None
) -> Project:
  """The project, with the pixels that its weights are for.

  Args:
    candidates: those whose networks have such names.
    given: fields of `Pixels` that the user states; a project that agrees with
      them is preferred, and they replace its own.

  Raises:
    SeveralProjectsError: the candidates saw different pixels; it lists them,
      and the fields that decide.
    ValueError: a field is wrong.
  """
  given = given or {}
  agreeing = [
    project
    for project in candidates
    if all(getattr(project.pixels, name) == given[name] for name in given)
  ]
  found = [
    project._replace(pixels=dataclasses.replace(project.pixels, **given))
    for project in agreeing or candidates
  ]
  first = found[0]
  if any(project[1:] != first[1:] for project in found):
    known = '; '.join(
      f'{project.name} saw {project.pixels}' for project in found
    )
    fields = ' and '.join(
      f'--config.{_SOURCE}.{name}={_shown(getattr(first.pixels, name))}'
      for name in ('channels', 'mean', 'scale')
      if len({getattr(project.pixels, name) for project in found}) > 1
    )
    raise SeveralProjectsError(
      'its layers are named as several projects name theirs, which trained on '
      f'different pixels: {known}. Say what it was trained on, such as {fields}'
    )
  names = ' or '.join(dict.fromkeys(project.name for project in found))
  return first._replace(name=names)


def _levels(values: tuple[float, ...]) -> str:
  text = ', '.join(f'{value:g}' for value in values)
  return text if len(values) == 1 else f'({text})'


def _shown(value: str | tuple[float, ...]) -> str:
  """A field as a flag shows it."""
  return value if isinstance(value, str) else ','.join(f'{v:g}' for v in value)
