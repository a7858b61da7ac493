"""Calibration sets the ranges of a float network, and changes little else."""

import functools

import jax
import numpy as np
from backbone_checks import cosines
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tiny_run import leaves, make_config, make_start

from faceqat.calibration import calibrate as calibration
from faceqat.calibration.calibrate import (
  calibrate,
  has_ranges,
  observe,
  set_steps,
)
from faceqat.evaluators.predict import make_predict
from faceqat.models.network import Network
from faceqat.quant.spec import FAKE_QUANT, FLOAT

BATCHES = list(
  np.random.default_rng(0).integers(0, 256, (2, 8, 32, 32, 3), np.uint8)
)


@functools.cache
def network(*, learned_steps=False):
  """A network between whose layers channels may be scaled, as y1's."""
  config = make_config()
  # Few enough bits that the means move visibly.
  config.quant.default.update(weight_bits=3, learned_steps=learned_steps)
  # ReLU6 would clip a channel that is stretched.
  config.model.activation = 'prelu'
  model, state, _ = make_start(config)
  return Network(model, state.variables, config, step=0)


@functools.cache
def calibrated(*, learned_steps=False, **settings):
  """The variables for these settings of the block `quant`."""
  model, variables, config, step = network(learned_steps=learned_steps)
  config = config.copy_and_resolve_references()
  config.quant.update(settings)
  return calibrate(Network(model, variables, config, step), BATCHES)


def changed(before, after):
  """The paths of the arrays that differ."""
  before, after = leaves(before), leaves(after)
  assert before.keys() == after.keys()
  return {n for n in after if not np.array_equal(before[n], after[n])}


def floats(variables):
  predict = make_predict(network().model, variables, FLOAT)
  return np.asarray(predict(BATCHES[0]))


def test_without_settings_nothing_but_ranges_is_set():
  before, after = network().variables, calibrated()
  assert has_ranges(after['quant_stats'])
  assert changed(before, after)
  assert all(name.startswith('quant_stats/') for name in changed(before, after))
  for name, leaf in leaves(after).items():
    if name.endswith('/count'):
      assert leaf == len(BATCHES), name


def test_equalised_channels_are_observed_anew_and_give_the_same_embedding():
  plain, equalized = calibrated(), calibrated(equalize=True)
  names = changed(plain, equalized)
  # The two tensors of the chain expand -> depthwise, for one.
  for name in (
    'params/block/expand/bn/scale',
    'params/block/depthwise/kernel',
    'quant_stats/block/expand/quantizer/range/minimum',
    'quant_stats/block/expand_prelu/quantizer/range/minimum',
  ):
    assert name in names
  assert not changed(observe(network().model, equalized, BATCHES), equalized)
  # Three layers in float32, with weights that are multiplied and divided.
  np.testing.assert_allclose(
    floats(equalized), floats(plain), rtol=0, atol=1e-4
  )


def test_after_equalisation_what_was_compiled_still_serves(caplog):
  model, variables, config, step = network()
  config = config.copy_and_resolve_references()
  config.quant.equalize = True
  placed = NamedSharding(Mesh(jax.devices()[:1], ('data',)), PartitionSpec())
  start = Network(model, jax.device_put(variables, placed), config, step)
  # Other tests may have compiled it.
  calibration._update.clear_cache()
  with jax.log_compiles():
    calibrate(start, BATCHES)
  compiled = [
    message
    for message in caplog.messages
    if message.startswith('Compiling jit(_update) ')
  ]
  assert len(compiled) == 1


def test_corrected_biases_are_all_that_changes_beside_the_ranges():
  plain, corrected = calibrated(), calibrated(correct_biases=True)
  assert changed(plain, corrected) == {
    f'params/{layer}/bn/bias'
    for layer in (
      'stem',
      'block/expand',
      'block/depthwise',
      'block/project',
      'embedding',
    )
  }
  model = network().model
  expected, before, after = (
    np.asarray(make_predict(model, variables, mode)(np.concatenate(BATCHES)))
    for variables, mode in (
      (plain, FLOAT),
      (plain, FAKE_QUANT),
      (corrected, FAKE_QUANT),
    )
  )
  lost, left = (
    np.mean(1 - cosines(expected, found)) for found in (before, after)
  )
  assert left < 0.2 * lost


def test_learned_steps_are_those_of_the_equalised_channels():
  model = network(learned_steps=True).model
  variables = calibrated(learned_steps=True, equalize=True)
  steps = {
    name: leaf
    for name, leaf in leaves(variables['params']).items()
    if name.endswith('step')
  }
  assert {'stem/kernel_step', 'block/add/quantizer/step'} <= steps.keys()
  for name, step in steps.items():
    assert np.all(step > 0), name
  assert not changed(set_steps(model, variables, BATCHES[0]), variables)


def test_a_model_without_learned_steps_has_none_to_set():
  variables = calibrated()
  assert set_steps(network().model, variables, BATCHES[0]) is variables


def test_observing_forgets_what_was_observed():
  fresh, used = (
    observe(network().model, variables, BATCHES[1:])
    for variables in (network().variables, calibrated())
  )
  assert not changed(fresh, used)
  # And it takes all batches that it is given.
  assert changed(fresh, calibrated())


def test_ranges_are_there_when_every_layer_has_one():
  assert not has_ranges({})
  assert not has_ranges(network().variables['quant_stats'])
  stats = calibrated()['quant_stats']
  assert has_ranges(stats)
  unseen = jax.tree.map(np.zeros_like, stats['block']['add'])
  lacking = {**stats, 'block': {**stats['block'], 'add': unseen}}
  assert not has_ranges(lacking)
