"""Inception-ResNet-v1: its size and shapes, and that its precisions agree."""

import functools

import backbone_checks as checks
import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from defaults import batch_norm, make_network

from faceqat.integer import operators as ops
from faceqat.quant.spec import FLOAT, Mode

FULL = make_network('inception_resnet_v1')
# Without dropout: one batch sets all statistics. A block of each kind and the
# last; all would take minutes.
MODEL = make_network(
  'inception_resnet_v1',
  embedding_size=24,
  depth_multiplier=0.1,
  dropout=0.0,
  norm=batch_norm(momentum=0.0),
)


@pytest.fixture(scope='module')
def backbone():
  return checks.prepare(MODEL, image_size=75)


@functools.cache
def outputs_of(model, image_size):
  """Shape and dtype of every layer's output by path; nothing is computed."""

  def outputs(images):
    seen = model.init(jax.random.key(0), images, FLOAT, mutable=True)
    return seen['intermediates']

  images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), np.uint8)
  return {
    jax.tree_util.keystr(path[:-2], simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      jax.eval_shape(outputs, images)
    )
  }


def test_shapes_are_those_of_facenet_at_160():
  shapes = {
    name: leaf.shape[1:] for name, leaf in outputs_of(FULL, 160).items()
  }
  expected = {
    'conv2d_1a_3x3': (79, 79, 32),
    'conv2d_2a_3x3': (77, 77, 32),
    'conv2d_2b_3x3': (77, 77, 64),
    'maxpool_3a_3x3': (38, 38, 64),
    'conv2d_3b_1x1': (38, 38, 80),
    'conv2d_4a_3x3': (36, 36, 192),
    'conv2d_4b_3x3': (17, 17, 256),
    'block35_5/branch_2/conv2d_0c_3x3': (17, 17, 32),
    'block35_5/concat': (17, 17, 96),
    'block35_5/add': (17, 17, 256),
    'mixed_6a/concat': (8, 8, 896),
    'block17_10/branch_1/conv2d_0b_1x7': (8, 8, 128),
    'block17_10/concat': (8, 8, 256),
    'block17_10/add': (8, 8, 896),
    'mixed_7a/concat': (3, 3, 1792),
    'block8_5/concat': (3, 3, 384),
    'block8_5/add': (3, 3, 1792),
    'block8/add': (3, 3, 1792),
    'avgpool_1a': (1792,),
    'embedding': (512,),
  }
  assert {name: shapes[name] for name in expected} == expected
  assert not {'block35_6', 'block17_11', 'block8_6'} & {
    name.split('/')[0] for name in shapes
  }


def test_the_smallest_images_leave_one_position_and_smaller_are_refused():
  assert outputs_of(MODEL, 75)['mixed_7a/concat'].shape == (1, 1, 1, 1792)
  with pytest.raises(ValueError, match=r'images are 74x74, but .* 75x75 or'):
    outputs_of(MODEL, 74)


def test_the_program_scales_a_residual_in_its_kernel_and_bias(backbone):
  operators = {op.name: op for op in backbone.program.operators}
  params = backbone.variables['params']
  scales = {'block35_1': 0.17, 'block17_1': 0.1, 'block8_1': 0.2, 'block8': 1}
  for block, scale in scales.items():
    layer = params[block]['conv2d_1x1']
    operator = operators[f'{block}/conv2d_1x1']
    step = np.float64(operator.weight_scale)
    error = np.abs(operator.weights * step - layer['kernel'] * scale)
    # Half a step, and the float32 division by it.
    assert (error < 0.501 * step).all()
    step *= backbone.program.tensors[f'{block}/concat'].scale
    error = np.abs(operator.bias * step - layer['bias'] * scale)
    assert (error < 0.501 * step).all()


def test_sums_are_rectified_but_for_the_last(backbone):
  tensors = backbone.program.tensors
  rectified = {
    operator.name: tensors[operator.name].zero_point == -128
    for operator in backbone.program.operators
    if isinstance(operator, ops.Add)
  }
  assert rectified == {
    'block35_1/add': True,
    'block17_1/add': True,
    'block8_1/add': True,
    'block8/add': False,
  }


def test_dropout_is_for_training_alone(backbone):
  def embed(mode):
    model = MODEL.clone(dropout=0.5)
    return model.apply(backbone.variables, backbone.images, mode)

  jax.eval_shape(lambda: embed(FLOAT))
  with pytest.raises(flax.errors.InvalidRngError, match='dropout'):
    jax.eval_shape(lambda: embed(Mode(train=True, freeze_bn=True)))


def test_every_tensor_has_one_range(backbone):
  ranges = flax.traverse_util.flatten_dict(backbone.variables['quant_stats'])
  # The largest of some values is quantized as these are, and what is joined as
  # the whole.
  others = {
    name
    for name in backbone.program.tensors
    if name == 'image' or 'maxpool' in name or '/requantize_' in name
  }
  names = {'/'.join(path[:-2]) for path in ranges}
  assert names == set(backbone.program.tensors) - others


def test_in_bfloat16_the_embedding_is_float32_and_the_convolutions_are_not():
  shapes = outputs_of(FULL.clone(dtype=jnp.bfloat16), 75)
  wide = {name for name, leaf in shapes.items() if leaf.dtype == jnp.float32}
  assert wide == {'embedding'}


@checks.each()
def test_the_precisions_belong_together(backbone, check):
  check(backbone)
