"""A small network with PReLUs behind convolutions, in either form."""

import functools

import flax.linen as nn
from defaults import batch_norm, make_spec

from faceqat.models.blocks import conv_unit
from faceqat.quant.layers import QuantConv, QuantDense, input_image
from faceqat.quant.spec import QuantSpec
from faceqat.quant.weightless import Add, Flatten

IMAGE = (8, 8, 3)


class PReLUNetwork(nn.Module):
  """A stem, a depthwise convolution and a dense layer behind a flattening.

  Attributes:
    quant: of all layers.
    adds: the stem's output is also added to what follows.
  """

  quant: QuantSpec = make_spec({'prelu': 'sum'})
  adds: bool = False

  @nn.compact
  def __call__(self, images, mode):
    norm = batch_norm(momentum=0.0)
    conv = functools.partial(QuantConv, quant=self.quant, norm=norm)
    unit = functools.partial(conv_unit, conv, mode=mode, activation='prelu')
    x = stem = unit(input_image(images), name='stem', features=8)
    x = unit(x, name='depthwise', depthwise=True)
    if self.adds:
      x = Add(quant=self.quant, name='add')(x, stem, mode)
    x = Flatten(quant=self.quant, name='flatten')(x, mode)
    dense = QuantDense(
      quant=self.quant, norm=norm, features=6, name='embedding'
    )
    return dense(x, mode)
