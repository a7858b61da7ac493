"""MobileNetV2: its size, and that its three precisions belong together."""

import backbone_checks as checks
import jax
import layer_network
import pytest
from defaults import batch_norm, make_network

from faceqat.models import mobilenet_v2

# Images of 48 leave 2x2 to the last blocks; one pixel would be mostly noise.
MODEL = make_network(
  'mobilenet_v2',
  embedding_size=32,
  width=0.25,
  norm=batch_norm(momentum=0.0),
)


@pytest.fixture(scope='module')
def backbone():
  # Eleven blocks of seventeen, of every kind; `whole_networks_test` runs all.
  return checks.prepare(MODEL.clone(depth_multiplier=0.5), image_size=48)


def test_size_is_that_of_the_reference_implementation():
  parameters, _ = checks.count(make_network('mobilenet_v2', width=1.0), 112)
  # torchvision's mobilenet_v2 has 3,504,872, its classifier 1281 * 1000.
  assert sum(parameters.values()) == 3_504_872 - 1_281_000 == 2_223_872
  _, multiply_adds = checks.count(make_network('mobilenet_v2', width=1.0), 224)
  # Its published 0.301 G at 224, the classifier's included; 300 M in the
  # paper's table 4.
  assert round((multiply_adds + 1280 * 1000) / 1e9, 3) == 0.301


@pytest.mark.parametrize(
  ('channels', 'rounded'),
  [(32, 32), (8, 8), (1, 8), (11, 16), (12, 16), (20, 24), (44, 48), (18, 24)],
)
def test_channels_are_whole_eights_and_lose_at_most_a_tenth(channels, rounded):
  assert mobilenet_v2.round_channels(channels) == rounded


def test_width_scales_all_but_the_last_convolution():
  def last(width):
    model = make_network('mobilenet_v2', embedding_size=16, width=width)
    params = jax.eval_shape(
      lambda: layer_network.random_variables(model, (32, 32, 3))
    )['params']
    return params['stem']['kernel'].shape, params['last']['kernel'].shape

  assert last(0.5) == ((3, 3, 3, 16), (1, 1, 160, 1280))
  assert last(1.5) == ((3, 3, 3, 48), (1, 1, 480, 1920))


def test_integers_equal_the_oracle_at_every_tensor(backbone):
  checks.check_integers_equal_the_oracle(backbone)


def test_integer_program_has_no_float(backbone):
  checks.check_program_has_no_float(backbone)


def test_embeddings_of_the_precisions_are_close(backbone):
  checks.check_embeddings_are_close(backbone)


def test_every_output_quantizer_matters(backbone):
  checks.check_every_output_quantizer_matters(backbone)


def test_every_kernel_is_quantized(backbone):
  checks.check_every_kernel_is_quantized(backbone)


def test_gradients_at_8_bits_point_where_the_float_ones_do(
  backbone, monkeypatch
):
  # Every kind of block; all seventeen would take most of this file's time.
  stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2))
  monkeypatch.setattr(mobilenet_v2, 'STAGES', stages)
  checks.check_gradients_agree(MODEL, backbone.images)


def test_bfloat16_runs(backbone):
  checks.check_bfloat16_runs(backbone)
