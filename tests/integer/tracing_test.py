import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.tensors import QParams, Tensor

OUTPUT = QParams(0.05, -10)


def weighted(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return {
    'weights': rng.integers(-127, 128, shape, np.int8),
    'weight_scale': rng.uniform(0.001, 0.002, shape[-1]).astype(np.float32),
    'bias': rng.normal(0, 1, shape[-1]).astype(np.float32),
  }


def trace(fn):
  return tracing.trace(fn, image_shape=(8, 8, 3))


def stem(x, name='stem', **changes):
  fields = {**weighted(1, 1, 3, 4), 'output': OUTPUT, **changes}
  return tracing.weighted(ops.Conv2D, x, name=name, **fields)


def test_a_symbol_has_the_shape_of_its_tensor_with_an_open_batch():
  def model(x):
    assert x.shape == (None, 8, 8, 3)
    assert x.ndim == 4
    assert x.tensor.scale == 1 / 128
    x = stem(x, strides=(2, 2))
    assert x.shape == (None, 4, 4, 4)
    assert x.tensor.qparams == OUTPUT
    x = tracing.apply(ops.Reshape, x, name='flat')
    assert x.shape == (None, 64)
    return x

  network = trace(model)
  assert [op.name for op in network.operators] == ['stem', 'flat']
  assert (network.input, network.output) == ('image', 'flat')


def test_metadata_and_arrays_are_kept():
  network = tracing.trace(
    stem, image_shape=(8, 8, 3), metadata={'model': 'tiny'}
  )
  assert network.metadata == {'model': 'tiny'}
  (conv,) = network.operators
  fields = weighted(1, 1, 3, 4)
  np.testing.assert_array_equal(conv.weights, fields['weights'])
  # int32 steps of input scale x weight scale, halves away from zero.
  real = fields['bias'].astype(np.float64) * 128 / fields['weight_scale']
  np.testing.assert_array_equal(conv.bias, np.round(real))
  assert conv.bias.dtype == np.int32


def test_halves_of_a_bias_step_go_away_from_zero():
  bias = tracing.quantize_bias(
    np.array([0.5, -0.5, 1.5, -2.5, 0.49]), np.ones(5, np.float32), 1.0, 'x'
  )
  np.testing.assert_array_equal(bias, [1, -1, 2, -3, 0])


@pytest.mark.parametrize('bias', [1e9, -1e9, np.nan, np.inf])
def test_a_bias_that_does_not_fit_names_the_layer_and_the_channel(bias):
  fields = weighted(1, 1, 3, 4)
  fields['bias'][2] = bias
  with pytest.raises(ValueError, match='stem, channel 2: the bias'):
    trace(lambda x: stem(x, **fields))


def test_the_bound_is_proved_when_recording():
  fields = weighted(1, 1, 3, 4)
  steps = (2**31 - 200) / 128
  fields['bias'] = fields['weight_scale'].astype(np.float64) * steps
  with pytest.raises(ValueError, match=r"'stem' \(Conv2D\): channel \d.*int32"):
    trace(lambda x: stem(x, **fields))


@pytest.mark.parametrize(
  'scale', [0.05, 0.0235294122248888, 6 / 255, 1.0, 4e-5]
)
@pytest.mark.parametrize('zero_point', [-128, -5, 0, 127])
@pytest.mark.parametrize('bits', [8, 4])
def test_activation_limits_follow_the_float32_rule(scale, zero_point, bits):
  zero_point = max(zero_point, -(2 ** (bits - 1)))
  zero_point = min(zero_point, 2 ** (bits - 1) - 1)
  output = QParams(scale, zero_point, bits)

  def steps(real):
    quotient = np.float32(real) / np.float32(scale)
    return int(np.trunc(quotient + np.copysign(np.float32(0.5), quotient)))

  low, high = output.qmin, output.qmax
  assert tracing.activation_limits(None, output) == (low, high)
  relu = (max(low, zero_point), high)
  assert tracing.activation_limits((0.0, math.inf), output) == relu
  relu6 = (max(low, zero_point), min(high, zero_point + steps(6.0)))
  assert tracing.activation_limits((0.0, 6.0), output) == relu6
  both = (
    max(low, zero_point + steps(-1.0)),
    min(high, zero_point + steps(1.0)),
  )
  assert tracing.activation_limits((-1.0, 1.0), output) == both


def test_activation_limits_round_halves_away_from_zero():
  output = QParams(1.0, 0)
  assert tracing.activation_limits((-2.5, 2.5), output) == (-3, 3)


def test_relu6_ends_where_the_range_does():
  (conv,) = trace(
    lambda x: stem(x, activation_range=(0.0, 6.0), output=QParams(0.1, -100))
  ).operators
  assert conv.clamp == (-100, -40)


def test_an_activation_range_that_is_none_is_refused():
  with pytest.raises(ValueError, match=r'activation_range is \(6.0, 0.0\)'):
    trace(lambda x: stem(x, activation_range=(6.0, 0.0)))


def test_concat_requantizes_only_what_differs():
  def model(x):
    a = stem(x, 'a')
    b = stem(x, 'b', output=QParams(0.07, 3))
    return tracing.concat([a, b, a], name='joined', output=OUTPUT)

  network = trace(model)
  assert [op.name for op in network.operators] == [
    'a',
    'b',
    'joined/requantize_1',
    'joined',
  ]
  assert network.operators[-1].inputs == ('a', 'joined/requantize_1', 'a')


def test_operators_that_the_output_does_not_need_are_left_out():
  def model(x):
    unused = stem(x, 'unused')
    tracing.apply(ops.Reshape, unused, name='unused_too')
    return stem(x, 'used')

  network = trace(model)
  assert [op.name for op in network.operators] == ['used']
  assert set(network.tensors) == {'image', 'used'}


def test_a_name_can_be_used_once():
  with pytest.raises(ValueError, match=r"'stem'.*tensor of that name already"):
    trace(lambda x: tracing.add(stem(x), stem(x), name='sum', output=OUTPUT))


def test_shapes_that_do_not_fit_are_refused_by_name():
  wrong = weighted(1, 1, 5, 4)
  with pytest.raises(ValueError, match=r"'stem'.*'image' has shape"):
    trace(lambda x: stem(x, **wrong))
  with pytest.raises(ValueError, match=r"'sum' \(Add\): inputs have shapes"):
    trace(lambda x: tracing.add(x, stem(x), name='sum', output=OUTPUT))
  with pytest.raises(ValueError, match=r"'fc'.*it takes \(C,\)"):
    trace(
      lambda x: tracing.weighted(
        ops.Dense, x, name='fc', **weighted(192, 4), output=OUTPUT
      )
    )


def test_weights_must_be_integers_already():
  fields = weighted(1, 1, 3, 4)
  fields['weights'] = fields['weights'].astype(np.float32)
  with pytest.raises(ValueError, match='stem: weights are float32'):
    trace(lambda x: stem(x, **fields))


def test_weights_from_jax_and_one_scale_for_all_are_taken():
  fields = weighted(1, 1, 3, 4)
  fields['weights'] = jnp.asarray(fields['weights'])
  fields['weight_scale'] = jnp.float32(0.01)
  fields['bias'] = None
  (conv,) = trace(lambda x: stem(x, **fields)).operators
  assert type(conv.weights) is np.ndarray
  np.testing.assert_array_equal(conv.weight_scale, np.full(4, 0.01, np.float32))
  np.testing.assert_array_equal(conv.bias, np.zeros(4))


class _Model(nn.Module):
  """Uses a jax function in the middle of a flax module."""

  @nn.compact
  def __call__(self, x):
    return jnp.tanh(x)


REFUSED = {
  # What is done to a symbol, and how the error calls it.
  'x + y': (lambda x: x + x, r'x \+ x'),
  'x + 1': (lambda x: x + 1, r'x \+ 1'),
  '1 - x': (lambda x: 1 - x, r'1 - x'),
  'array * x': (lambda x: np.ones(3) * x, 'numpy.multiply'),
  'jax array * x': (lambda x: jnp.ones(3) * x, r'jnp\.ones\(3\) \* x'),
  '-x': (lambda x: -x, r'lambda x: -x'),
  'x @ y': (lambda x: x @ x, 'x @ x'),
  'x[0]': (lambda x: x[0], r'x\[0\]'),
  'x == y': (lambda x: x == x, 'Comparison'),
  'x != y': (lambda x: x != x, 'Comparison'),
  'x > 0': (lambda x: x > 0, 'x > 0'),
  'if x': (lambda x: 1 if x else 2, 'Truth value'),
  'not x': (lambda x: not x, 'Truth value'),
  'float(x)': (lambda x: float(x), r'float\(x\)'),
  'int(x)': (lambda x: int(x), r'int\(x\)'),
  'len(x)': (lambda x: len(x), r'len\(x\)'),
  'range(x)': (lambda x: range(x), r'range\(x\)'),
  'a, b = x': (lambda x: [*x], r'\[\*x\]'),
  '1 in x': (lambda x: 1 in x, '1 in x'),
  'abs(x)': (lambda x: abs(x), r'abs\(x\)'),
  'round(x)': (lambda x: round(x), r'round\(x\)'),
  'x.reshape': (lambda x: x.reshape(-1), r'Attribute \.reshape'),
  'x.mean': (lambda x: x.mean(), r'Attribute \.mean'),
  'x.astype': (lambda x: x.astype(int), r'Attribute \.astype'),
  'np.asarray': (np.asarray, 'Conversion to a numpy array'),
  'np.sum': (np.sum, r'numpy\.sum'),
  'np.exp': (np.exp, r'numpy\.exp'),
  'jnp.sin': (lambda x: jnp.sin(x), r'jnp\.sin\(x\)'),
  'jnp.add': (lambda x: jnp.add(x, 1), r'jnp\.add\(x, 1\)'),
  'jnp.sum': (lambda x: jnp.sum(x), r'jnp\.sum\(x\)'),
  'jnp.pad': (lambda x: jnp.pad(x, 1), r'jnp\.pad\(x, 1\)'),
  'jnp.concatenate': (lambda x: jnp.concatenate([x, x]), r'concatenate\('),
  'jnp.asarray': (lambda x: jnp.asarray(x), 'Conversion'),
  'jax.nn.relu': (lambda x: jax.nn.relu(x), r'jax\.nn\.relu\(x\)'),
  'jax.lax.add': (lambda x: jax.lax.add(x, x), r'jax\.lax\.add\(x, x\)'),
  'jax.jit': (lambda x: jax.jit(lambda v: v)(x), r'jax\.jit\('),
  'nn.avg_pool': (lambda x: nn.avg_pool(x, (2, 2)), r'nn\.avg_pool\('),
  'in a module': (lambda x: _Model().apply({}, x), r'jnp\.tanh\(x\)'),
}


@pytest.mark.parametrize(('function', 'named'), REFUSED.values(), ids=REFUSED)
def test_any_other_operation_is_a_type_error_that_names_it(function, named):
  with pytest.raises(TypeError, match=f'{named}.* has no') as info:
    trace(function)
  assert ', '.join(sorted(ops.OPERATORS)) in str(info.value)


def test_a_type_error_of_the_model_itself_is_left_alone():
  def model(x):
    raise TypeError('my own mistake')

  with pytest.raises(TypeError, match=r'^my own mistake$'):
    trace(model)


def test_arrays_are_refused_where_symbols_belong():
  array = np.zeros((1, 8, 8, 3), np.float32)
  with pytest.raises(TypeError, match=r'flat \(Reshape\) got ndarray'):
    tracing.apply(ops.Reshape, array, name='flat')
  with pytest.raises(TypeError, match=r'sum \(Add\) got ndarray'):
    trace(lambda x: tracing.add(x, array, name='sum', output=OUTPUT))


def test_a_symbol_of_another_trace_is_refused():
  kept = []
  trace(lambda x: kept.append(x) or stem(x))
  with pytest.raises(TypeError, match='another trace'):
    trace(lambda x: tracing.add(x, kept[0], name='sum', output=OUTPUT))
  with pytest.raises(TypeError, match='returned Symbol'):
    trace(lambda x: kept[0])


def test_a_model_must_return_a_symbol():
  with pytest.raises(TypeError, match='returned NoneType'):
    trace(lambda x: None)


def test_a_product_takes_one_shape_or_a_gate_per_channel():
  def model(x):
    a = stem(x, 'a')
    gate = tracing.apply(
      ops.Logistic,
      tracing.apply(ops.Mean, a, name='gate', output=OUTPUT),
      name='s',
    )
    gated = tracing.apply(
      ops.Mul, a, gate, name='gated', output=QParams(0.07, 3)
    )
    return tracing.apply(ops.Mul, gated, a, name='product', output=OUTPUT)

  network = trace(model)
  assert network.tensors['s'].qparams == QParams(1 / 256, -128)
  assert network.tensors['gated'] == Tensor('gated', (8, 8, 4), 0.07, 3)
  assert network.operators[-2].inputs == ('a', 's')
  for fn in (
    lambda x: tracing.apply(ops.Mul, stem(x), x, name='product', output=OUTPUT),
    lambda x: tracing.apply(
      ops.Mul,
      tracing.apply(ops.Mean, x, name='gate', output=OUTPUT),
      x,
      name='product',
      output=OUTPUT,
    ),
  ):
    with pytest.raises(ValueError, match=r"'product' \(Mul\): inputs have"):
      trace(fn)


def test_a_logistic_function_has_one_output_scale():
  source = Tensor('x', (4,), 0.1, 0)
  operator = ops.Logistic(name='s', inputs=('x',))
  operator.check([source], Tensor('s', (4,), 1 / 256, -128))
  with pytest.raises(ValueError, match=r"'s' \(Logistic\): its output has"):
    operator.check([source], Tensor('s', (4,), 1 / 256, 0))


def test_a_square_root_is_quantized_as_it_is_told():
  roots = QParams(0.02, -60, bits=7)
  network = trace(
    lambda x: tracing.apply(ops.SquareRoot, stem(x), name='root', output=roots)
  )
  (operator,) = network.operators[1:]
  assert (type(operator), operator.inputs) == (ops.SquareRoot, ('stem',))
  assert network.tensors['root'].qparams == roots
  with pytest.raises(ValueError, match=r"'root' \(SquareRoot\): gives shape"):
    operator.check([network.tensors['stem']], Tensor('root', (4,), 1, 0))


def test_pooling_and_clamping_keep_their_input_scale():
  def model(x):
    x = stem(x)
    x = tracing.apply(
      ops.MaxPool, x, name='pool', window=(2, 2), strides=(2, 2)
    )
    x = tracing.apply(
      ops.AveragePool, x, name='average', window=(3, 3), strides=(1, 1)
    )
    return tracing.clamp(x, name='relu', activation_range=(0.0, math.inf))

  network = trace(model)
  assert network.tensors['relu'].qparams == OUTPUT
  assert network.operators[-1].limits == (-10, 127)
  kinds = [type(operator) for operator in network.operators[1:3]]
  assert kinds == [ops.MaxPool, ops.AveragePool]
  assert network.tensors['average'].shape == (2, 2, 4)
