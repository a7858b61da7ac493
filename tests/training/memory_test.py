import dataclasses

import jax
import pytest

from configs import losses
from faceqat.losses.objective import make_objective
from faceqat.training import memory, sharding

LARGE = {
  'people': 10_000_000,
  'dimension': 512,
  'batch_size': 1024,
  'optimizer': 'sgd',
}


def objective_of(**changes):
  block = losses.arcface()
  block.update(changes)
  return make_objective(block)


@pytest.mark.parametrize(
  ('changes', 'optimizer', 'message'),
  [
    # Weights, momentum, gradient: 61.4 GB; logits and their gradient of 128
    # images: 10.2 GB.
    ({}, 'sgd', r'needs 71\.7 GB on each of 8 .* 4\.0 GB; give loss\.sharded='),
    (
      {'sharded': True},
      'adamw',
      r'needs 10\.2 GB .*; give loss\.sample_rate=0\.1, loss\.dtype=bfloat16, '
      r'more devices, a smaller model\.embedding_size than 512 or '
      r'optimizer\.name=sgd$',
    ),
    (
      {'sharded': True, 'sample_rate': 0.5, 'dtype': 'bfloat16'},
      'sgd',
      r'needs 9\.1 GB .*; give more devices or a smaller model\.embedding',
    ),
  ],
)
def test_more_people_than_fit_are_refused_with_the_ways_out(
  changes, optimizer, message, monkeypatch
):
  monkeypatch.setattr(memory, 'memory_of', lambda device: 4 * 10**9)
  settings = {**LARGE, 'optimizer': optimizer}
  with pytest.raises(ValueError, match=f'10,000,000 people {message}'):
    memory.check_memory(
      objective_of(**changes), sharding.make_mesh(1024), **settings
    )


def test_a_linear_classifier_needs_as_much_and_is_whole(monkeypatch):
  monkeypatch.setattr(memory, 'memory_of', lambda device: 4 * 10**9)
  with pytest.raises(ValueError, match=r'71\.7 GB .* or a margin loss, which'):
    memory.check_memory(
      make_objective(losses.center()), sharding.make_mesh(1024), **LARGE
    )


def test_what_fits_passes_and_devices_share_what_there_is():
  mesh = sharding.make_mesh(1024)
  few = {**LARGE, 'people': 1000}
  for objective in (objective_of(), make_objective(losses.triplet())):
    memory.check_memory(objective, mesh, **few)
  parts = objective_of(sharded=True)
  one, eight = (
    memory.classifier_bytes(parts, **LARGE, devices=n) for n in (1, 8)
  )
  assert one == 8 * eight
  sampled = dataclasses.replace(parts, sample_rate=0.1)
  assert memory.classifier_bytes(sampled, **LARGE, devices=1) < one
  # Eight devices of this machine share its memory.
  assert 10**8 < memory.memory_of(jax.devices()[0]) < 10**12
