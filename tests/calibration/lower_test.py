import numpy as np
import pytest
from backbone_checks import cosines
from defaults import group_norm
from layer_network import real

from faceqat.calibration.lower import lower
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.evaluators.predict import make_predict
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.norm import NoIntegerFormError
from faceqat.quant.spec import FAKE_QUANT, FLOAT
from faceqat.training.checkpoint import load_network


@pytest.fixture(scope='module')
def network(quantized_run):
  return load_network(str(quantized_run[0]))


@pytest.fixture(scope='module')
def images():
  faces = SyntheticFaces(8, 1, image_size=32, seed=5)
  return np.stack([faces[i]['image'] for i in range(8)])


def test_the_program_is_that_of_the_network(network):
  program = lower(network)
  assert program.contract == 'tflite_ref'
  assert program.metadata['model'] == 'tiny'
  assert program.metadata['step'] == '10'
  assert program.output == 'embedding'
  names = [operator.name for operator in program.operators]
  assert 'block/depthwise' in names
  assert 'block/add' in names
  # The embedding's zero point is 0, as the config's override asks.
  assert program.tensors['embedding'].zero_point == 0
  image = program.tensors[program.input]
  assert tuple(image.shape) == (32, 32, 3)


def test_the_program_computes_what_training_simulated(network, images):
  program = lower(network)
  integers = real(program, make_evaluator(program)(images))
  floats, fakes = (
    np.asarray(make_predict(network.model, network.variables, mode)(images))
    for mode in (FLOAT, FAKE_QUANT)
  )

  def error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)

  # Fake quantization rounds in float: an activation that lies on the edge may
  # fall to the other side, one step of 255, and few do.
  assert error(integers, fakes) < 0.02
  assert error(floats, fakes) > 1e-4


def test_fewer_weight_bits_are_for_dense_layers_and_full_convolutions(network):
  program = lower(network, weight_bits=4)
  plain = {operator.name: operator for operator in lower(network).operators}
  for operator in program.operators:
    if not hasattr(operator, 'weight_bits'):
      continue
    depthwise = getattr(operator, 'depthwise', False)
    assert operator.weight_bits == (8 if depthwise else 4)
    before = plain[operator.name].weights
    if depthwise:
      np.testing.assert_array_equal(operator.weights, before)
    else:
      assert np.abs(operator.weights).max() == 7
      # The same reals, 127 / 7 times as coarsely: half a step of rounding,
      # and 1/2 * 7/127 of that before.
      ratio = before * (7 / 127)
      assert np.abs(operator.weights - ratio).max() < 0.53


def test_a_normalised_embedding_has_unit_length(network, images):
  program = lower(network, normalize=True, contract='xnnpack')
  assert program.contract == 'xnnpack'
  steps = np.asarray(make_evaluator(program)(images), np.float64)
  lengths = np.linalg.norm(steps / 128, axis=1)
  # Half a step in each of 16 coordinates, and 127/128 where one would be 1.
  np.testing.assert_allclose(lengths, 1, atol=0.5 / 128 * 4 + 1 / 128)
  plain = make_evaluator(lower(network, contract='xnnpack'))(images)
  assert cosines(steps, plain).min() > 0.99


def test_a_norm_without_integers_is_refused_by_the_name_of_its_layer(network):
  grouped = network._replace(model=network.model.clone(norm=group_norm()))
  with pytest.raises(NoIntegerFormError, match='layer stem has a group norm'):
    lower(grouped)
