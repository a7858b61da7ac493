"""A training step of our layers and of TensorFlow's ops from equal states."""

import numpy as np
import pytest

pytest.importorskip('tensorflow')

from tests.support import tensorflow_network as network
from tests.support import tensorflow_operations as operations
from tests.support import tensorflow_training as training


@pytest.fixture(scope='module')
def exact():
  """Both steps of the problem in which no sum is rounded."""
  return training.exact_steps()


@pytest.fixture(scope='module')
def ordinary():
  """A state, a batch, our step, and TensorFlow's given our quantizer inputs."""
  ((images, labels),) = training.batches(1)
  batch = images[:8], labels[:8]
  step = network.make_our_step(network.TRAINING)
  # After one step: ranges are then averages, and the momentum moves.
  state = step(network.initial_state(batch[0]), *batch).state
  ours = step(state, *batch)
  return state, batch, ours, training.given_ours(state, ours, batch)


def test_a_step_that_rounds_no_sum_has_the_same_outputs(exact):
  ours, theirs = exact
  assert ours.loss == theirs.loss
  for name in network.LAYERS:
    a, b = ours.taps[name], theirs.taps[name]
    np.testing.assert_array_equal(a.before, b.before, err_msg=name)
    np.testing.assert_array_equal(a.after, b.after, err_msg=name)
    assert len(np.unique(a.after)) > 16  # Or equality would say little.
    assert np.any(a.before != a.after)


def test_a_step_that_rounds_no_sum_has_the_same_gradients_and_weights(exact):
  ours, theirs = exact
  for name, gradient in ours.gradients.items():
    assert np.any(gradient)
    if name.endswith('bn/scale'):
      # These do round: they are sums of products with the kernel itself, and
      # its largest weights have 24 bits. Each of at most 27 additions rounds
      # by 2^-24 of a partial sum, which is below 16.
      np.testing.assert_allclose(
        gradient, theirs.gradients[name], rtol=0, atol=27 * 16 * 2.0**-24
      )
      continue
    np.testing.assert_array_equal(
      gradient, theirs.gradients[name], err_msg=name
    )
    np.testing.assert_array_equal(
      ours.state.params[name], theirs.state.params[name], err_msg=name
    )


def test_quantizers_give_the_same_integers_for_the_same_inputs(ordinary):
  _, _, ours, given = ordinary
  assert not any(training.other_steps(ours, given).values())
  for name in network.LAYERS:
    # The moving average is rounded once or twice (see below).
    np.testing.assert_array_max_ulp(
      ours.taps[name].range, given.taps[name].range, maxulp=1
    )


def test_single_operations_differ_by_rounding_alone(ordinary):
  state, batch, ours, given = ordinary
  results = {
    result.name: result
    for result in operations.compare(state, ours, given, batch[0])
  }
  for name in ('outputs', 'kernels'):
    assert results[f'quantizers of {name}'].differing == 0
  assert results['their gradient'].differing == 0
  for name in ('normalisation', 'momentum', 'ranges'):
    # XLA rounds a * b + c once where the processor has that instruction, and
    # may do so in one of two loops.
    apart, fused = results[f'{name} a * b + c'], results[f'{name}, fused']
    once, twice = (np.equal(r.ours, r.theirs) for r in (fused, apart))
    assert np.all(once | twice), name
  for name, result in results.items():
    # n roundings, each of 2^-24 of what has been added up: n is at most the
    # batch's 2048 pixels, and the sums of magnitudes are not ten times the
    # largest sum. What is no sum has fewer.
    assert result.distance('ours', 'theirs') < 10 * 2048 * 2**-24, name


def test_gradients_differ_by_rounding_alone_on_the_same_quantized_values(
  ordinary,
):
  _, _, ours, given = ordinary
  # The losses are equal but for the rounding of exp and log, of a few last
  # bits (2^-22) in either library, and of eight sums of eight.
  assert ours.loss == pytest.approx(given.loss, rel=1e-5)
  for name, gradient in ours.gradients.items():
    # As above: up to 2048 roundings by 2^-24. But terms cancel, and a batch
    # norm's scale, to which the network is next to indifferent, has gradients
    # a hundredth of the magnitudes that are summed.
    np.testing.assert_allclose(
      gradient,
      given.gradients[name],
      rtol=0,
      atol=100 * 2048 * 2.0**-24 * np.abs(gradient).max(),
      err_msg=name,
    )


def test_the_small_form_prints_how_many_values_differ(capsys):
  training.print_all(steps=2)
  assert ' of 10336 differ' in capsys.readouterr().out
