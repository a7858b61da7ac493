"""MobileNetV2: its size, and that its three precisions belong together."""

import backbone_checks as checks
import jax
import layer_network
import pytest
from defaults import batch_norm, make_network

from faceqat.models import mobilenet_v2

MODEL = make_network(
  'mobilenet_v2', embedding_size=32, width=0.25, norm=batch_norm(momentum=0.0)
)


@pytest.fixture(scope='module')
def backbone():
  # Blocks of every kind; `whole_networks_test` runs all seventeen.
  stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mobilenet_v2, 'STAGES', stages)
    yield checks.prepare(MODEL, image_size=32)


@pytest.mark.parametrize(
  ('channels', 'rounded'),
  [(32, 32), (8, 8), (1, 8), (11, 16), (12, 16), (20, 24), (44, 48), (18, 24)],
)
def test_channels_are_whole_eights_and_lose_at_most_a_tenth(channels, rounded):
  assert mobilenet_v2.round_channels(channels) == rounded


def test_width_scales_all_but_the_last_convolution(monkeypatch):
  monkeypatch.setattr(mobilenet_v2, 'STAGES', mobilenet_v2.STAGES[-1:])

  def last(width):
    model = MODEL.clone(width=width)
    params = jax.eval_shape(
      lambda: layer_network.random_variables(model, (32, 32, 3))
    )['params']
    return params['stem']['kernel'].shape, params['last']['kernel'].shape

  assert last(0.5) == ((3, 3, 3, 16), (1, 1, 160, 1280))
  assert last(1.5) == ((3, 3, 3, 48), (1, 1, 480, 1920))


@checks.each(
  checks.check_gradients_agree,
  checks.check_every_output_quantizer_matters,
  checks.check_every_kernel_is_quantized,
  checks.check_bfloat16_runs,
)
def test_the_precisions_belong_together(backbone, check):
  check(backbone)
