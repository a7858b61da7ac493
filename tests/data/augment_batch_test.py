import jax
import numpy as np
import pytest

from faceqat.data.augment import Augment, Draw
from faceqat.data.augment_batch import augment_batch
from faceqat.training import sharding

AUGMENT = Augment(flip_probability=0.5, max_shift=3, max_brightness=0.4)
COUNT = 32


@pytest.fixture(scope='module')
def batch():
  """Oblong images, and what is drawn for each."""
  images = np.random.default_rng(0).integers(
    0, 256, (COUNT, 12, 10, 3), np.uint8
  )
  draws = [AUGMENT.draw(np.random.default_rng(i)) for i in range(COUNT)]
  draw = Draw(*map(np.stack, zip(*draws)))
  assert {*draw.mirrored.tolist()} == {False, True}
  assert {*draw.shift.flat} == {*range(-3, 4)}
  return {'image': images, 'draw': draw, 'label': np.arange(COUNT)}


@pytest.mark.parametrize('devices', [1, 8])
def test_any_number_of_devices_gives_the_bits_of_the_host(batch, devices):
  mesh = sharding.make_mesh(COUNT, jax.devices()[:devices])
  result = augment_batch(sharding.shard_batch(batch, mesh))
  assert sorted(result) == ['image', 'label']
  want = [
    AUGMENT(image, np.random.default_rng(i))
    for i, image in enumerate(batch['image'])
  ]
  np.testing.assert_array_equal(result['image'], want)
  assert result['image'].dtype == np.uint8


def test_no_device_asks_another_for_pixels(batch):
  mesh = sharding.make_mesh(COUNT, jax.devices())
  lowered = augment_batch.lower(sharding.shard_batch(batch, mesh))
  program = lowered.compile().as_text()
  assert f'u8[{COUNT // 8},12,10,3]' in program
  for exchange in ('all-gather', 'all-reduce', 'all-to-all', 'permute'):
    assert exchange not in program
