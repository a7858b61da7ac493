"""Blocks of the backbones, and what these share."""

import functools
import math

import flax.linen as nn

from faceqat.fields import check_value
from faceqat.quant.prelu import PReLU
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode
from faceqat.quant.weightless import Add, Requantize

# The last batch norm of a block that adds its input begins with it, so that the
# block begins near the identity (Goyal et al. 2017, section 5.1, who begin at
# 0, of which no range can be observed).
_INITIAL_GAMMA = 0.2


def scale_depth(repeats: int, multiplier: float) -> int:
  """The blocks of a stage in a shallower or deeper network.

  >>> [scale_depth(repeats, 0.25) for repeats in (1, 4, 5)]
  [1, 1, 2]

  Raises:
    ValueError: the multiplier is not above 0.
  """
  check_value('model.depth_multiplier', multiplier, '(0, inf)')
  # A product such as 3 * (1 / 3) may come out a little above 1.
  return max(1, math.ceil(round(repeats * multiplier, 6)))


def round_channels(channels: float, divisor: int = 8) -> int:
  """Rounds to a multiple of `divisor`, losing at most a tenth.

  >>> [round_channels(channels) for channels in (1, 11, 18, 20)]
  [8, 16, 24, 24]
  """
  rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
  return rounded if rounded >= 0.9 * channels else rounded + divisor


def conv_unit(
  conv: functools.partial, x: Value, mode: Mode, *, name: str, **fields
) -> Value:
  """Applies a convolution and its activation inside a compact method.

  'relu' and 'relu6' are fused into the convolution; 'prelu' is a layer
  `<name>_prelu` with a range of its own, as in the runtimes.

  Args:
    conv: makes the convolution.
    x: `[B, H, W, C]`, or a symbol of that shape.
    mode: of the call.
    name: of the convolution.
    **fields: of `QuantConv`; `activation` may also be 'prelu'.
  """
  prelu = fields.get('activation') == 'prelu'
  if prelu:
    fields['activation'] = None
  x = conv(name=name, **fields)(x, mode)
  if prelu:
    x = PReLU(quant=conv.keywords['quant'], name=f'{name}_prelu')(x, mode)
  return x


def convolution_input(
  conv: functools.partial, x: Value, mode: Mode, *, path: tuple[str, ...]
) -> Value:
  """A residual sum as the convolution after it reads it.

  A residual path adds up many small changes, and a few bits lose them; a
  convolution needs no more than its own input bits (as in LSQ, where additions
  are in float). `LayerQuant.input` of the layer at `path` chooses. The layer is
  made in the caller's compact method, by the last name of the path.
  """
  quant = conv.keywords['quant']
  if quant.layer('/'.join(path)).input == 'shared':
    return x
  return Requantize(quant=quant, name=path[-1])(x, mode)


class InvertedResidual(nn.Module):
  """Expand 1x1, depthwise 3x3, project 1x1, add (Sandler et al. 2018, fig. 3).

  Attributes:
    features: output channels.
    expanded: channels between expansion and projection.
    strides: of the depthwise convolution; the input is added where they are 1
      and the channels agree.
    activation: after expansion and depthwise; the projection is linear.
    conv: makes the convolutions.
    padding: of the depthwise convolution.
    always_expand: also if the input has `expanded` channels already.
  """

  features: int
  expanded: int
  strides: int
  activation: str
  conv: functools.partial
  padding: str | tuple = 'SAME'
  always_expand: bool = True

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    unit = functools.partial(
      conv_unit, self.conv, mode=mode, activation=self.activation
    )
    path = (*self.path, 'input')
    y = convolution_input(self.conv, x, mode, path=path)
    if self.always_expand or self.expanded != x.shape[-1]:
      y = unit(y, name='expand', features=self.expanded, kernel_size=(1, 1))
    y = unit(
      y,
      name='depthwise',
      features=self.expanded,
      strides=(self.strides, self.strides),
      padding=self.padding,
      depthwise=True,
    )
    adds = self.strides == 1 and x.shape[-1] == self.features
    y = self.conv(
      name='project',
      features=self.features,
      kernel_size=(1, 1),
      initial_gamma=_INITIAL_GAMMA if adds else 1.0,
    )(y, mode)
    if adds:
      y = Add(quant=self.conv.keywords['quant'], name='add')(x, y, mode)
    return y
