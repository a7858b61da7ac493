import jax
import numpy as np
import pytest

from faceqat.training import sharding

DEVICES = jax.devices()


def test_every_device_takes_an_equal_part_of_the_batch():
  mesh = sharding.make_mesh(16)
  assert mesh.shape == {'data': 8}
  batch = {
    'image': np.arange(16 * 12, dtype=np.uint8).reshape(16, 2, 2, 3),
    'label': np.arange(16, dtype=np.int32),
  }
  sharded = sharding.shard_batch(batch, mesh)
  for name, array in sharded.items():
    assert array.dtype == batch[name].dtype
    np.testing.assert_array_equal(array, batch[name])
    shards = sorted(array.addressable_shards, key=lambda s: s.index[0].start)
    assert {shard.device for shard in shards} == set(DEVICES)
    for position, shard in enumerate(shards):
      np.testing.assert_array_equal(
        shard.data, batch[name][2 * position : 2 * position + 2]
      )


def test_every_device_has_a_copy_of_the_state():
  mesh = sharding.make_mesh(8)
  tree = {'a': np.arange(3.0), 'b': (np.int32(4),)}
  copied = sharding.replicate(tree, mesh)
  for leaf, original in zip(jax.tree.leaves(copied), jax.tree.leaves(tree)):
    assert leaf.is_fully_replicated
    assert len(leaf.addressable_shards) == 8
    for shard in leaf.addressable_shards:
      np.testing.assert_array_equal(shard.data, original)


def test_a_mesh_has_the_devices_it_was_given():
  assert sharding.make_mesh(3, DEVICES[:1]).devices.tolist() == DEVICES[:1]
  assert sharding.make_mesh(4, DEVICES[2:4]).devices.tolist() == DEVICES[2:4]


@pytest.mark.parametrize('batch_size', [1, 7, 12])
def test_a_batch_that_does_not_divide_is_refused(batch_size):
  with pytest.raises(
    ValueError, match=f'batch_size {batch_size} .* 8 devices; .* multiple of 8'
  ):
    sharding.make_mesh(batch_size)


def test_sums_over_a_sharded_batch_are_global():
  mesh = sharding.make_mesh(8)
  batch = sharding.shard_batch({'x': np.arange(8, dtype=np.float32)}, mesh)
  mean, largest = jax.jit(lambda x: (x.mean(), x.max()))(batch['x'])
  assert float(mean) == 3.5
  assert float(largest) == 7


def test_each_micro_batch_divides_among_the_devices():
  assert sharding.make_mesh(16, micro_batches=2).size == 8
  with pytest.raises(
    ValueError, match=r'8 devices times 2 micro_batches; .* of 16'
  ):
    sharding.make_mesh(8, micro_batches=2)
