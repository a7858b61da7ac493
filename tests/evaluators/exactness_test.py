import jax.numpy as jnp
import layer_network
import numpy as np
import pytest

from faceqat.evaluators import exactness
from faceqat.integer import kernels


def program_and_taps():
  program = layer_network.lowered()[3]
  return program, dict(layer_network.integers())


def test_equal_integers_have_no_difference():
  program, taps = program_and_taps()
  embedding = taps[program.output]
  result = exactness.compare_integers(embedding, embedding.copy())
  assert result == exactness.Comparison(embedding.size, 0, 0)
  assert exactness.first_difference(program, taps, dict(taps)) is None


def test_differences_are_counted_without_wrapping_around():
  low, high = np.full((2, 3), -128, np.int8), np.full((2, 3), 127, np.int8)
  high[0] = -128
  result = exactness.compare_integers(low, high)
  assert result == exactness.Comparison(outputs=6, differing=3, largest=255)


def test_other_shapes_and_types_are_no_comparison():
  array = np.zeros((2, 3), np.int8)
  for other in (array[:1], array.astype(np.uint8)):
    with pytest.raises(ValueError, match='the readers give'):
      exactness.compare_integers(array, other)


def test_the_first_layer_that_differs_is_named_not_those_it_spoils():
  program, taps = program_and_taps()
  names = [operator.name for operator in program.operators]
  start = names.index('prelu')
  other = dict(taps)
  for name in names[start:]:
    other[name] = taps[name] ^ 1
  difference = exactness.first_difference(program, taps, other)
  assert difference.operator.name == 'prelu'
  assert difference.index == (0, 0, 0, 0)
  assert difference.comparison.differing == taps['prelu'].size
  assert abs(difference.expected - difference.actual) == 1
  assert list(difference.inputs) == ['pointwise']
  source = int(taps['pointwise'][0, 0, 0, 0])
  assert str(difference).splitlines() == [
    f'first difference: layer prelu (PReLU), {taps["prelu"].size} of '
    f'{taps["prelu"].size} outputs, by up to 1; at [0, 0, 0, 0], expected '
    f'{difference.expected}, got {difference.actual}, from',
    f'  pointwise []: {source}',
  ]
  # No layer before it differs.
  layers = exactness.compare_layers(program, taps, other)
  assert list(layers) == names
  differing = [layer.differing for layer in layers.values()]
  assert differing[:start] == [0] * start
  assert differing[start] == taps['prelu'].size


@pytest.mark.parametrize('name', layer_network.LAYERS)
def test_a_difference_shows_all_that_its_output_depends_on(name):
  """With all else replaced, the operator gives the same output there."""
  program, taps = program_and_taps()
  operator = next(op for op in program.operators if op.name == name)
  inputs, output = program.inputs_of(operator), program.tensors[name]
  rng = np.random.default_rng(0)
  for _ in range(3):
    index = tuple(int(rng.integers(0, size)) for size in taps[name].shape)
    other = dict(taps)
    other[name] = taps[name].copy()
    other[name][index] ^= 1
    shown = exactness.first_difference(program, taps, other)
    assert (shown.operator.name, shown.index) == (name, index)
    values = []
    for tensor in inputs:
      value = taps[tensor.name]
      kept = np.zeros(value[0].size, bool).reshape(value[0].shape)
      if tensor.name in shown.inputs:
        kept[operator.region(index[1:], inputs)[tensor.name]] = 1
        known = value[index[0]][kept]
        np.testing.assert_array_equal(shown.inputs[tensor.name].ravel(), known)
      noise = rng.integers(-128, 128, value.shape, np.int8)
      noise[index[0]][kept] = value[index[0]][kept]
      values.append(jnp.asarray(noise))
    again = np.asarray(kernels.compute(operator, values, inputs, output))
    assert again[index] == taps[name][index]
