"""The pixels of another network are folded into its weights."""

import dataclasses

import numpy as np
import pytest
from torch_networks import seen

from faceqat.models.weights import projects
from faceqat.models.weights.pixels import (
  Pixels,
  Project,
  SeveralProjectsError,
  choose,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 9, 8, 3), np.uint8)
KERNEL = RNG.normal(0, 1, (3, 3, 3, 5))
# In its own order of channels, as caffe's networks had it.
CAFFE = Pixels('BGR', (103.94, 116.78, 123.68), (57.4, 57.1, 58.4))
KNOWN = sorted(
  {
    value.pixels
    for value in vars(projects).values()
    if isinstance(value, Project)
  },
  key=str,
)


def convolve(values, kernel):
  """[B, H - 2, W - 2, O]."""
  windows = np.lib.stride_tricks.sliding_window_view(values, (3, 3), (1, 2))
  return np.einsum('bhwiyx,yxio->bhwo', windows, kernel)


def padded(values, value):
  return np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=value)


def test_the_known_pixels_are_of_several_kinds():
  assert {pixels.channels for pixels in KNOWN} == {'RGB', 'BGR'}
  assert {pixels.mean for pixels in KNOWN} == {(0,), (127.5,)}
  assert {pixels.scale for pixels in KNOWN} == {(127.5,), (128,), (255,)}


@pytest.mark.parametrize('pixels', [*KNOWN, CAFFE], ids=str)
def test_the_model_computes_what_the_network_did_but_pads_with_pixel_128(
  pixels,
):
  kernel, shift = pixels.fold(KERNEL)
  got = convolve(padded((np.float64(IMAGES) - 128) / 128, 0), kernel) + shift
  expected = convolve(seen(padded(IMAGES, 128), pixels), KERNEL)
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
  # Where no window leaves the image, that is what the project has.
  expected = convolve(padded(seen(IMAGES, pixels), 0), KERNEL)
  inside = np.s_[:, 1:-1, 1:-1]
  np.testing.assert_allclose(got[inside], expected[inside], rtol=0, atol=1e-12)
  assert np.abs(got - expected).max() > 1e-3


def test_half_a_level_at_the_border_is_not_mentioned_and_black_is():
  for pixels in KNOWN:
    assert bool(pixels.border_note()) == (pixels.mean == (0,))
  assert (
    'with pixel 0, this model pads with 128'
    in Pixels(mean=(0,), scale=(255,)).border_note()
  )


@pytest.mark.parametrize(
  ('pixels', 'text'),
  [
    (Pixels('BGR', (0,), (255,)), 'BGR, pixel / 255'),
    (Pixels(), 'RGB, (pixel - 127.5) / 127.5'),
    (Pixels('RGB', (1, 2, 3), (4,)), 'RGB, (pixel - (1, 2, 3)) / 4'),
  ],
)
def test_pixels_are_shown_as_the_formula(pixels, text):
  assert str(pixels) == text


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      {'channels': 'rgb'},
      r"pretrained_pixels\.channels is 'rgb'; choose one of RGB",
    ),
    ({'mean': (1, 2)}, r'pretrained_pixels\.mean is \(1, 2\); give one number'),
    ({'mean': ('a',)}, r'pretrained_pixels\.mean'),
    ({'mean': (float('nan'),)}, r'pretrained_pixels\.mean'),
    ({'scale': (0,)}, r'pretrained_pixels\.scale is \(0,\)'),
  ],
)
def test_what_cannot_be_is_refused_by_its_field(fields, message):
  with pytest.raises(ValueError, match=message):
    Pixels(**fields)


def test_a_kernel_of_another_number_of_channels_is_refused():
  with pytest.raises(ValueError, match='has 1 input channels, wanted 3'):
    Pixels().fold(np.ones((3, 3, 1, 4)))


def test_what_is_given_goes_before_what_a_project_is_known_to_see():
  found = choose([projects.MAGFACE], {'channels': 'RGB'})
  assert found == projects.MAGFACE._replace(pixels=Pixels('RGB', (0,), (255,)))
  assert choose([projects.MAGFACE]) == projects.MAGFACE


def test_two_projects_are_told_apart_by_what_is_given():
  both = projects.FACE_EVOLVE, projects.INSIGHTFACE_PYTORCH
  for project in both:
    channels = project.pixels.channels
    assert choose(both, {'channels': channels}) == project
  with pytest.raises(
    SeveralProjectsError,
    match=r'face\.evoLVe saw RGB, \(pixel - 127\.5\) / 127\.5; TreB1eN/\S+ saw '
    r'BGR, .* such as --config\.pretrained_pixels\.channels=RGB$',
  ):
    choose(both)
  # The mean does not decide; all does, even what neither of them has.
  with pytest.raises(SeveralProjectsError):
    choose(both, {'mean': (0,)})
  found = choose(both, dataclasses.asdict(CAFFE))
  assert found.pixels == CAFFE
  assert found.name == 'face.evoLVe or TreB1eN/InsightFace_Pytorch'
