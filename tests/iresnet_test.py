"""The improved residual network: its size, and that its readings agree."""

import types

import backbone_checks as checks
import layer_network
import pytest

from faceqat.integer.program import OPERATORS
from faceqat.models import iresnet

pytestmark = pytest.mark.usefixtures('quick_compilation')

# Two stages that keep their channels, two that widen them, and a unit that
# keeps its input.
TINY = {'DEPTHS': {18: (2, 1, 1, 1)}, 'CHANNELS': (8, 8, 12, 16)}
# Images of 32 leave 2x2 to the dense layer.
MODEL = iresnet.Model(depth=18, embedding_size=24, bn_momentum=0.0)


@pytest.fixture(scope='module')
def backbone():
  with pytest.MonkeyPatch.context() as patch:
    for name, value in TINY.items():
      patch.setattr(iresnet, name, value)
    yield checks.prepare(MODEL, image_size=32)


def test_depth_counts_the_convolutions_and_the_dense_layer():
  for depth, units in iresnet.DEPTHS.items():
    assert 2 + 2 * sum(units) == depth


def test_an_unknown_depth_is_refused_and_the_known_are_listed():
  with pytest.raises(ValueError, match=r'model\.depth is 20; .* 18, 34, 50, 1'):
    layer_network.random_variables(iresnet.Model(depth=20), (32, 32, 3))


def test_the_shortcut_is_the_input_itself_where_it_can_be(backbone):
  operators = {op.name: op for op in backbone.program.operators}
  shortcuts = [operators[f'block_{index}/add'].inputs[0] for index in range(5)]
  assert shortcuts == [
    'block_0/subsample',
    'block_0/add',
    'block_2/subsample',
    'block_3/shortcut',
    'block_4/shortcut',
  ]
  # The norm is on the way to the convolutions alone.
  assert operators['block_1/norm'].inputs == ('block_0/add',)
  assert operators['block_0/subsample'].inputs == ('stem_prelu',)


def test_the_second_convolution_halves_the_image(backbone):
  strides = {
    operator.name: operator.strides
    for operator in backbone.program.operators
    if isinstance(operator, OPERATORS['Conv2D'])
  }
  halving = {name for name, stride in strides.items() if stride == (2, 2)}
  assert halving == {
    *(f'block_{index}/conv_2' for index in (0, 2, 3, 4)),
    'block_3/shortcut',
    'block_4/shortcut',
  }


def test_integers_equal_the_oracle_at_every_tensor(backbone):
  checks.check_integers_equal_the_oracle(backbone)


def test_integer_program_has_no_float(backbone):
  checks.check_program_has_no_float(backbone)


def test_embeddings_of_the_readings_are_close(backbone):
  checks.check_embeddings_are_close(backbone)


def test_every_output_quantizer_matters(backbone):
  # What is only picked out of a tensor is quantized as that is.
  tensors = {
    name: tensor
    for name, tensor in backbone.program.tensors.items()
    if not name.endswith('/subsample')
  }
  program = types.SimpleNamespace(tensors=tensors)
  fields = {**vars(backbone), 'program': program}
  checks.check_every_output_quantizer_matters(types.SimpleNamespace(**fields))


def test_bfloat16_runs(backbone):
  checks.check_bfloat16_runs(backbone)
