"""FaceNet's NN2: its table, and that its three precisions belong together."""

import math

import backbone_checks as checks
import flax
import jax
import numpy as np
import pytest
from defaults import batch_norm, make_network

from faceqat.integer import operators as ops
from faceqat.models import facenet_nn2
from faceqat.quant.spec import FLOAT

STAGES = facenet_nn2.STAGES
MODEL = make_network('facenet_nn2', norm=batch_norm(momentum=0.0))

# Schroff et al. 2015, table 2, for images of 224:
# (thousands of parameters, millions of multiply-adds, output).
TABLE = {
  'conv1': (9, 119, (112, 64)),
  'inception_2': (115, 360, (56, 192)),
  'inception_3a': (164, 128, (28, 256)),
  'inception_3b': (228, 179, (28, 320)),
  'inception_3c': (398, 108, (14, 640)),
  'inception_4a': (545, 107, (14, 640)),
  'inception_4b': (595, 117, (14, 640)),
  'inception_4c': (654, 128, (14, 640)),
  'inception_4d': (722, 142, (14, 640)),
  'inception_4e': (717, 56, (7, 1024)),
  'inception_5a': (1600, 78, (7, 1024)),
  'inception_5b': (1600, 78, (7, 1024)),
  'embedding': (131, 0.1, None),
}


@pytest.fixture(scope='module')
def shapes():
  """Parameters and outputs at 224, by path; nothing is compiled."""
  images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.uint8)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(facenet_nn2, 'STAGES', STAGES)
    variables = jax.eval_shape(
      lambda images: MODEL.init(jax.random.key(0), images, FLOAT, mutable=True),
      images,
    )
  return tuple(
    flax.traverse_util.flatten_dict(variables[name])
    for name in ('params', 'intermediates')
  )


def test_each_row_has_the_paper_s_parameters_and_multiply_adds(shapes):
  params, outputs = shapes
  parameters = dict.fromkeys(TABLE, 0)
  multiply_adds = dict.fromkeys(TABLE, 0)
  for path, leaf in params.items():
    if path[-1] == 'kernel':
      # The paper counts a bias for each channel, which here is the norm's.
      size = leaf.size + leaf.shape[-1]
      positions = math.prod(outputs[*path[:-1], 'output'][0].shape[1:-1])
      parameters[path[0]] += size
      multiply_adds[path[0]] += size * positions
  for name, (thousands, millions, _) in TABLE.items():
    # One unit of the table's last digit: it cuts here and rounds there.
    digit = 100 if thousands == 1600 else 1
    assert abs(parameters[name] / 1e3 - thousands) < digit, name
    assert abs(multiply_adds[name] / 1e6 - millions) < 1, name
  assert 7.4e6 < sum(parameters.values()) < 7.5e6  # 7.5 M in the paper.
  assert round(sum(multiply_adds.values()) / 1e9, 1) == 1.6


def test_each_row_has_the_paper_s_output(shapes):
  _, outputs = shapes
  for name, (_, _, wanted) in TABLE.items():
    last = {'conv1': (), 'inception_2': ('conv_3x3',)}.get(name, ('concat',))
    if wanted is not None:
      (output,) = outputs[(name, *last, 'output')]
      assert output.shape == (1, wanted[0], *wanted), name
  # L2 pooling in the rows where the table says so.
  pools = {path[0][-2:] for path in outputs if path[1:3] == ('pool', 'square')}
  assert pools == {'3b', '4a', '4b', '4c', '4d', '5a'}


@pytest.fixture(scope='module')
def backbone():
  """Every kind of row; all of them would take most of this file's time."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(facenet_nn2, 'STAGES', STAGES[:2])
    yield checks.prepare(MODEL, image_size=32)


def test_a_shallower_network_keeps_the_rows_that_halve_the_image(monkeypatch):
  monkeypatch.setattr(facenet_nn2, 'STAGES', STAGES)
  model = MODEL.clone(depth_multiplier=0.25)
  params = jax.eval_shape(
    lambda images: model.init(jax.random.key(0), images, FLOAT)['params'],
    jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8),
  )
  rows = {name for name in params if name.startswith('inception')}
  assert rows == {f'inception_{row}' for row in ('2', '3c', '4d', '4e', '5b')}


def test_every_tensor_but_those_of_pools_has_a_range_of_its_own(backbone):
  ranges = flax.traverse_util.flatten_dict(backbone.variables['quant_stats'])
  kept = ('MaxPool', 'AveragePool', 'Requantize')
  made = {
    operator.name
    for operator in backbone.program.operators
    if type(operator).__name__ not in kept
  }
  assert {'/'.join(path[:-2]) for path in ranges} == made
  roots = [
    operator.name
    for operator in backbone.program.operators
    if isinstance(operator, ops.SquareRoot)
  ]
  assert roots == ['inception_3b/pool']


@checks.each(checks.check_every_kernel_is_quantized, checks.check_bfloat16_runs)
def test_the_precisions_belong_together(backbone, check):
  check(backbone)
