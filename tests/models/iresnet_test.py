"""The improved residual network: its size, and that its precisions agree."""

import backbone_checks as checks
import jax
import jax.numpy as jnp
import layer_network
import numpy as np
import pytest
from defaults import batch_norm, make_network

from faceqat.integer import operators as ops
from faceqat.models import iresnet
from faceqat.quant.spec import FLOAT, Mode

# Two stages that keep their channels, two that widen them, and a unit that
# keeps its input.
TINY = {
  'DEPTHS': {18: (2, 1, 1, 1), 34: (2, 0, 0, 0)},
  'CHANNELS': (8, 8, 12, 16),
  'REDUCTION': 2,
}
# Images of 32 leave 2x2 to the dense layer.
MODEL = make_network(
  'ir18', embedding_size=24, dropout=0.0, norm=batch_norm(momentum=0.0)
)


# One stage, whose channels stay.
GATED = MODEL.clone(depth=34, squeeze_excite=True, shortcut='projection')


@pytest.fixture(scope='module')
def tiny():
  with pytest.MonkeyPatch.context() as patch:
    for name, value in TINY.items():
      patch.setattr(iresnet, name, value)
    yield


@pytest.fixture(scope='module')
def backbone(tiny):
  return checks.prepare(MODEL, image_size=32)


@pytest.fixture(scope='module')
def gated(tiny):
  return checks.prepare(GATED, image_size=32)


def test_depth_counts_the_convolutions_and_the_dense_layer():
  for depth, units in iresnet.DEPTHS.items():
    assert 2 + 2 * sum(units) == depth


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('depth', 20, r'model\.depth is 20; .* 18, 34, 50, 1'),
    ('shortcut', 'conv', r"model\.shortcut is 'conv'; .* subsam"),
  ],
)
def test_what_is_unknown_is_refused_and_the_known_are_listed(
  field, value, message
):
  model = make_network('ir18', **{field: value})
  with pytest.raises(ValueError, match=message):
    layer_network.random_variables(model, (32, 32, 3))


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
    if isinstance(operator, ops.Conv2D)
  }
  halving = {name for name, stride in strides.items() if stride == (2, 2)}
  assert halving == {
    *(f'block_{index}/conv_2' for index in (0, 2, 3, 4)),
    'block_3/shortcut',
    'block_4/shortcut',
  }


def test_a_projection_is_the_shortcut_wherever_the_image_is_halved(gated):
  operators = {op.name: op for op in gated.program.operators}
  shortcuts = [operators[f'block_{index}/add'].inputs[0] for index in range(2)]
  assert shortcuts == ['block_0/shortcut', 'block_0/add']


def test_a_gate_follows_the_last_norm_and_opens_by_it(gated):
  operators = {op.name: op for op in gated.program.operators}
  place = 'block_1/squeeze_excite'
  convolution = 'block_1/conv_2'
  assert operators[f'{place}/squeeze'].inputs == (convolution,)
  assert operators[f'{place}/reduce'].inputs == (f'{place}/squeeze',)
  assert operators[f'{place}/excite'].inputs == (convolution, f'{place}/gate')
  assert operators['block_1/add'].inputs[1] == f'{place}/excite'
  assert operators[f'{place}/reduce'].weights.shape == (8, 4)
  assert operators[f'{place}/expand'].weights.shape == (4, 8)


def test_gates_differ_between_images_and_channels(gated):
  gates = gated.integers['block_1/squeeze_excite/gate']
  assert (gates.std(0) > 0).any()
  assert (gates.std(1) > 0).any()


def test_gates_compute_in_the_models_type(tiny):
  model = GATED.clone(dtype=jnp.bfloat16)
  images = jax.ShapeDtypeStruct((2, 32, 32, 3), np.uint8)
  seen = jax.eval_shape(
    lambda images: model.init(jax.random.key(0), images, FLOAT, mutable=True),
    images,
  )['intermediates']
  types = {leaf.dtype for leaf in jax.tree.leaves(seen['block_0'])}
  assert types == {jnp.dtype('bfloat16')}


def test_dropout_thins_the_dense_layers_input_in_training_alone(monkeypatch):
  monkeypatch.setattr(iresnet, 'DEPTHS', {18: (1, 0, 0, 0)})
  monkeypatch.setattr(iresnet, 'CHANNELS', (4, 4, 4, 4))
  model = MODEL.clone(dropout=0.4)
  images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), np.uint8)
  variables = layer_network.random_variables(model, (12, 12, 3))

  def around(mode):
    _, seen = model.apply(
      variables,
      images,
      mode,
      rngs={'dropout': jax.random.key(1)},
      mutable=['intermediates'],
      capture_intermediates=lambda module, _: module.name == 'dropout',
    )
    seen = seen['intermediates']
    return seen['norm']['output'][0], seen['dropout']['__call__'][0]

  # The moving statistics need no update here.
  read = jax.jit(
    lambda: [around(Mode(train=True, freeze_bn=True)), around(FLOAT)]
  )
  (before, after), (plain, same) = jax.tree.map(np.asarray, read())
  kept = after != 0
  # Of 8 x 6 x 6 x 4 elements: six deviations.
  assert abs(kept.mean() - 0.6) < 6 * np.sqrt(0.4 * 0.6 / kept.size)
  # The last bits of float32.
  np.testing.assert_allclose(after[kept], before[kept] / 0.6, rtol=1e-6)
  np.testing.assert_array_equal(same, plain)


@checks.each(
  checks.check_every_output_quantizer_matters, checks.check_bfloat16_runs
)
def test_the_precisions_belong_together(backbone, check):
  check(backbone)


@checks.each()
def test_the_precisions_with_gates_belong_together(gated, check):
  check(gated)
