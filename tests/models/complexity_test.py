"""The sizes of the networks are those that their papers and projects give."""

import functools
import math

import flax
import flax.linen as nn
import jax
import numpy as np
import pytest
import torch_iresnet
from defaults import batch_norm, make_network, make_spec

from faceqat.models import iresnet
from faceqat.models.complexity import (
  count_multiply_adds,
  count_parameters,
  trace_shapes,
)
from faceqat.quant.layers import QuantConv, QuantDense
from faceqat.quant.spec import QuantSpec

CHANNELS = (64, 128, 256, 512)


@functools.cache
def shapes(model, image_size=112):
  return trace_shapes(model, image_size)


def sizes(variables):
  params = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  return {path: leaf.size for path, leaf in params.items()}


def sum_of(counts, *endings):
  return sum(size for name, size in counts.items() if name.endswith(endings))


class Small(nn.Module):
  """A convolution to 8x8 positions, a depthwise one to 4x4, a dense layer."""

  quant: QuantSpec = make_spec()

  @nn.compact
  def __call__(self, images, mode):
    x = images.astype(np.float32)
    conv = functools.partial(QuantConv, norm=batch_norm(), quant=self.quant)
    x = conv(features=5, strides=(2, 2), norm=None, use_bias=True)(x, mode)
    x = conv(depthwise=True, strides=(2, 2))(x, mode)
    x = x.reshape(x.shape[0], -1)
    return QuantDense(features=7, norm=None, quant=self.quant)(x, mode)


def test_a_small_network_is_counted_by_hand():
  model = Small()
  kernels = 3 * 3 * 3 * 5, 3 * 3 * 5, 4 * 4 * 5 * 7
  bias, norm = 5, 2 * 5
  variables = shapes(model, 16)
  assert count_parameters(variables) == sum(kernels) + bias + norm
  assert count_multiply_adds(variables) == (
    kernels[0] * 8 * 8 + kernels[1] * 4 * 4 + kernels[2]
  )


def test_learned_steps_are_no_parameters_of_the_network():
  learned = Small(quant=make_spec({'learned_steps': True}))
  plain, variables = shapes(Small(), 16), shapes(learned, 16)
  assert len(jax.tree.leaves(variables['params'])) > len(
    jax.tree.leaves(plain['params'])
  )
  assert count_parameters(variables) == count_parameters(plain)


def improved(depth, **fields):
  return make_network('resnet50', depth=depth, **fields)


@pytest.mark.parametrize(
  ('depth', 'original', 'served', 'giga_flops', 'with_norms'),
  # arcface_torch's r18 to r100 as PyTorch counts them. Then Open Model Zoo's
  # face-recognition-resnet34-, 50- and 100-arcface, the same networks in
  # MXNet: MParams as they are served, and GFLOPs, which are two for each
  # multiply-add. Then arcface_torch's flops.py (ptflops), GFLOPs that are
  # multiply-adds; its README gives 2.6, 6.3 and 12.1.
  [
    (18, 24_025_600, None, None, 2.62),
    (34, 34_139_328, 34.129, 8.934, 4.48),
    (50, 43_590_848, 43.576, 12.637, 6.33),
    (100, 65_156_160, 65.131, 24.209, 12.12),
  ],
)
def test_improved_residual_networks_have_the_published_sizes(
  depth, original, served, giga_flops, with_norms
):
  model = improved(depth)
  counts = sizes(shapes(model))
  # A norm that stands alone has a kernel of ones here; and the dense layer's
  # bias of 512 is in the norm behind it.
  alone = sum_of(counts, 'norm/kernel')
  assert count_parameters(shapes(model)) - alone + 512 == original
  network = 'arcface_torch', iresnet.DEPTHS[depth], CHANNELS, 7, 512
  assert torch_iresnet.count(*network) == original
  multiply_adds = count_multiply_adds(shapes(model))
  if served:
    # Each norm is a bias of the layer before it; the last one that stands
    # alone, in no layer here, is in the dense layer behind it there.
    bare = sum(counts.values()) - sum_of(counts, 'scale') - 2 * 512
    assert round(bare / 1e6, 3) == served
    # They count sums and norms too: 0.1% more.
    assert 0.998 < 2 * multiply_adds / (giga_flops * 1e9) < 1
  # ptflops counts two for each element of a norm, and one for a PReLU's.
  outputs = flax.traverse_util.flatten_dict(
    shapes(model)['intermediates'], sep='/'
  )

  def elements(ending, output):
    paths = [
      path.removesuffix(ending) for path in counts if path.endswith(ending)
    ]
    return sum(math.prod(outputs[path + output][0].shape) for path in paths)

  norms = elements('bn/scale', 'output')
  standing_alone = elements('norm/kernel', 'norm/output')
  slopes = elements('alpha', 'output')
  theirs = multiply_adds - standing_alone + 2 * norms + slopes
  assert round(theirs / 1e9, 2) == with_norms


@pytest.mark.parametrize(
  ('squeeze_excite', 'original'), [(False, 43_574_976), (True, 43_797_696)]
)
def test_face_evolves_networks_have_its_sizes(squeeze_excite, original):
  # IR_50 and IR_SE_50, as PyTorch counts them.
  model = make_network('ir50', squeeze_excite=squeeze_excite)
  naming = 'face_evolve_ir_se' if squeeze_excite else 'face_evolve_ir'
  units = iresnet.DEPTHS[50]
  assert torch_iresnet.count(naming, units, CHANNELS, 7, 512) == original
  counts = sizes(shapes(model))
  # What the model has besides: kernels of ones, and the norm between a unit's
  # first convolution and its PReLU. What it lacks: the dense layer's bias.
  besides = sum_of(counts, 'norm/kernel', 'conv_1/bn/scale', 'conv_1/bn/bias')
  assert count_parameters(shapes(model)) - besides + 512 == original


def test_gates_cost_next_to_nothing():
  plain, gated = (
    count_multiply_adds(shapes(improved(50, **gate)))
    for gate in ({}, {'squeeze_excite': True})
  )
  # Two dense layers of C * C / 16 in each unit.
  units = zip(iresnet.DEPTHS[50], CHANNELS)
  assert gated - plain == sum(n * 2 * c * c // 16 for n, c in units)


def test_mobilefacenet_has_the_papers_size():
  # 0.99 M (Chen et al. 2018, table 2); 0.993 M for the same network in Open
  # Model Zoo, face-recognition-mobilefacenet-arcface. Both count it as it is
  # served, each norm folded into a bias.
  model = make_network('mobilefacenet')
  counts = sizes(shapes(model))
  served = sum(counts.values()) - sum_of(counts, 'scale')
  assert round(served / 1e6, 3) == 0.993
  assert count_parameters(shapes(model)) == 1_003_136
  # 221 M in the abstract of Zhang 2019 (SeesawFaceNets, arXiv 1908.09124).
  assert round(count_multiply_adds(shapes(model)) / 1e6) == 221


def test_mobilenet_v1_has_the_size_of_sface():
  model = make_network('mobilenet_v1')
  counts = sizes(shapes(model))
  # What its file has: weights, slopes, and a bias for each channel.
  served = sum(counts.values()) - sum_of(counts, 'scale')
  assert served == 9_607_616 + 10_944 + (10_944 + 128)
  # 13 pairs of a 3x3 depthwise and a 1x1 convolution, added up by hand.
  assert round(count_multiply_adds(shapes(model)) / 1e6) == 574


def test_mobilenet_v2_with_its_classifier_has_the_papers_size():
  model = make_network('mobilenet_v2', width=1.0)
  embedding = 1280 * model.embedding_size
  classifier = 1280 * 1000
  variables = shapes(model, 224)
  parameters = count_parameters(variables)
  # torchvision's mobilenet_v2, which has a bias for each class.
  parameters += classifier + 1000 - (embedding + 2 * model.embedding_size)
  assert parameters == 3_504_872
  # 300 M at 224 (Sandler et al. 2018, table 4), where it has 3.4 M parameters:
  # 3.47 M are the kernels alone.
  multiply_adds = count_multiply_adds(variables) + classifier - embedding
  assert round(multiply_adds / 1e6) == 301


def test_inception_resnet_v1_has_facenets_size():
  model = make_network('inception_resnet_v1')
  variables = shapes(model, 160)
  counts = sizes(variables)
  # facenet-pytorch's InceptionResnetV1 without logits, by its definition.
  assert count_parameters(variables) == 23_482_624
  # As it is served, each batch norm folded into a bias, Open Model Zoo says
  # 23.469 M (facenet-20180408-102900), and 2.846 GFLOPs. The latter also has
  # activations, pools and sums.
  assert sum(counts.values()) - sum_of(counts, 'scale') == 23_467_824
  assert 2 * count_multiply_adds(variables) == 2_835_324_608


@pytest.mark.parametrize(
  ('network', 'fields', 'size', 'full', 'quarter'),
  [
    ('mobilenet_v2', {'width': 1.0}, 224, 17, 7),
    ('mobilefacenet', {}, 112, 15, 7),
    ('ir50', {}, 112, 24, 7),
    ('inception_resnet_v1', {}, 160, 21, 8),
  ],
)
def test_a_quarter_of_the_depth_keeps_a_quarter_of_each_stage(
  network, fields, size, full, quarter
):
  for multiplier, wanted in ((1.0, full), (0.25, quarter)):
    model = make_network(network, depth_multiplier=multiplier, **fields)
    names = shapes(model, size)['params']
    assert sum(name.startswith('block') for name in names) == wanted
