"""NN2, the Inception network of FaceNet (Schroff et al. 2015, table 2).

Where it differs from the paper:

* A batch norm follows each convolution and the embedding, in place of the
  stem's two local response norms, which have no integer form.
* The average is over the whole rest of an image of any size; the paper's has
  224 pixels, which leaves 7x7.
* The embedding is not normalised: losses and evaluators do that.
* L2 pooling takes the mean of those squares that lie in the image.
"""

from typing import NamedTuple

import flax.linen as nn

from faceqat.models.backbone import Backbone, Conv
from faceqat.models.blocks import scale_depth
from faceqat.quant.pooling import L2Pool, MaxPool, MeanPool
from faceqat.quant.quant_layer import Value
from faceqat.quant.spec import Mode
from faceqat.quant.weightless import Concat


class InceptionRow(NamedTuple):
  """Channels of a row of the table; a branch of 0 does not exist.

  Attributes:
    one: of the 1x1 convolution.
    reduce_three, three: of a 1x1 convolution and the 3x3 one behind it.
    reduce_five, five: the same with 5x5.
    pool: 'max', 'l2' or None, over 3x3.
    project: of the 1x1 convolution behind the pool.
    stride: of the last step of each branch but the projection.
  """

  one: int
  reduce_three: int
  three: int
  reduce_five: int
  five: int
  pool: str | None
  project: int
  stride: int = 1


ROWS = {
  'inception_2': InceptionRow(0, 64, 192, 0, 0, None, 0),
  'inception_3a': InceptionRow(64, 96, 128, 16, 32, 'max', 32),
  'inception_3b': InceptionRow(64, 96, 128, 32, 64, 'l2', 64),
  'inception_3c': InceptionRow(0, 128, 256, 32, 64, 'max', 0, stride=2),
  'inception_4a': InceptionRow(256, 96, 192, 32, 64, 'l2', 128),
  'inception_4b': InceptionRow(224, 112, 224, 32, 64, 'l2', 128),
  'inception_4c': InceptionRow(192, 128, 256, 32, 64, 'l2', 128),
  'inception_4d': InceptionRow(160, 144, 288, 32, 64, 'l2', 128),
  'inception_4e': InceptionRow(0, 160, 256, 64, 128, 'max', 0, stride=2),
  'inception_5a': InceptionRow(384, 192, 384, 48, 128, 'l2', 128),
  'inception_5b': InceptionRow(384, 192, 384, 48, 128, 'max', 128),
}
# The rows of each size of image, by their number; the stem's first.
STAGES = tuple(
  tuple(name for name in ROWS if name.startswith(f'inception_{size}'))
  for size in (2, 3, 4, 5)
)
POOLS = {'max': MaxPool, 'l2': L2Pool}
# Behind the first convolution and behind inception_2.
STEM_POOL = {'window': (3, 3), 'strides': (2, 2)}


class Inception(nn.Module):
  """Convolutions of several sizes and a pool, side by side (Szegedy 2014)."""

  row: InceptionRow
  conv: Conv

  @nn.compact
  def __call__(self, x: Value, mode: Mode) -> Value:
    row, quant = self.row, self.conv.keywords['quant']
    strides = (row.stride, row.stride)

    def unit(x, name, features, size=1, strides=(1, 1)):
      layer = self.conv(
        name=name,
        features=features,
        kernel_size=(size, size),
        strides=strides,
        activation='relu',
      )
      return layer(x, mode)

    branches = []
    if row.one:
      branches.append(unit(x, 'conv_1x1', row.one))
    for size, reduced, features in (
      (3, row.reduce_three, row.three),
      (5, row.reduce_five, row.five),
    ):
      if features:
        y = unit(x, f'reduce_{size}x{size}', reduced)
        name = f'conv_{size}x{size}'
        branches.append(unit(y, name, features, size, strides))
    if row.pool:
      pool = POOLS[row.pool](
        quant=quant, window=(3, 3), strides=strides, name='pool'
      )
      y = pool(x, mode)
      branches.append(unit(y, 'project', row.project) if row.project else y)
    if len(branches) == 1:
      return branches[0]
    return Concat(quant=quant, name='concat')(branches, mode)


class Model(Backbone):
  """FaceNet's NN2; in the paper the embedding has 128 numbers.

  `depth_multiplier` applies to the rows 3a to 3c, 4a to 4e, and 5a to 5b. The
  last ones stay, as they change the image's size.
  """

  def body(self, x: Value, mode: Mode, conv: Conv) -> Value:
    x = conv(
      name='conv1',
      features=64,
      kernel_size=(7, 7),
      strides=(2, 2),
      activation='relu',
    )(x, mode)
    x = MaxPool(quant=self.quant, name='pool1', **STEM_POOL)(x, mode)
    for stage, names in enumerate(STAGES, 2):
      count = scale_depth(len(names), self.depth_multiplier)
      for name in names[-count:]:
        x = Inception(ROWS[name], conv, name=name)(x, mode)
      if stage == 2:
        x = MaxPool(quant=self.quant, name='pool2', **STEM_POOL)(x, mode)
    return MeanPool(quant=self.quant, name='average')(x, mode)
