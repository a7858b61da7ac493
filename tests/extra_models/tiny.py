"""A network that compiles in a second, for tests of what trains networks."""

from faceqat.models.backbone import Backbone
from faceqat.models.blocks import InvertedResidual, conv_unit
from faceqat.quant.pooling import MeanPool
from faceqat.quant.weightless import Flatten


class Model(Backbone):
  """A convolution, one residual block, the mean, an embedding.

  Or, as in MobileFaceNet, a convolution over all positions for the mean.
  """

  features: int
  activation: str
  global_depthwise: bool

  def body(self, x, mode, conv):
    x = conv_unit(
      conv,
      x,
      mode,
      name='stem',
      features=self.features,
      strides=(2, 2),
      activation=self.activation,
    )
    x = InvertedResidual(
      features=self.features,
      expanded=2 * self.features,
      strides=1,
      activation=self.activation,
      conv=conv,
      name='block',
    )(x, mode)
    if self.global_depthwise:
      x = conv(
        name='global_depthwise',
        features=self.features,
        kernel_size=tuple(x.shape[1:3]),
        padding='VALID',
        depthwise=True,
      )(x, mode)
      return Flatten(quant=self.quant, name='flatten')(x, mode)
    return MeanPool(quant=self.quant, name='pool')(x, mode)
