import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.quant.convolution import conv2d, same_padding

# (height, width), (kh, kw), strides, padding
DEPTHWISE = [
  pytest.param((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), id='same'),
  pytest.param((7, 9), (3, 3), (1, 1), ((1, 1), (1, 1)), id='odd'),
  pytest.param((8, 6), (3, 3), (2, 2), ((0, 1), (0, 1)), id='stride2_even'),
  pytest.param((8, 6), (3, 3), (2, 2), ((1, 1), (1, 1)), id='stride2_torch'),
  pytest.param((7, 9), (3, 3), (2, 2), ((1, 1), (1, 1)), id='stride2_odd'),
  pytest.param((7, 8), (3, 3), (1, 1), ((0, 0), (0, 0)), id='valid'),
  pytest.param((6, 7), (3, 3), (1, 1), ((2, 0), (0, 3)), id='lopsided'),
  pytest.param((6, 7), (3, 3), (1, 1), ((4, 3), (0, 5)), id='over_padded'),
  pytest.param((6, 7), (3, 3), (2, 2), ((2, 0), (3, 5)), id='stride2_lopsided'),
  pytest.param((9, 8), (3, 3), (2, 1), ((1, 1), (0, 2)), id='stride_2_by_1'),
  pytest.param((9, 8), (5, 5), (2, 2), ((1, 2), (2, 2)), id='5x5_stride2'),
  pytest.param((9, 8), (2, 3), (3, 3), ((0, 0), (1, 0)), id='gaps'),
  pytest.param((6, 6), (1, 1), (2, 2), ((0, 0), (0, 0)), id='1x1_stride2'),
  pytest.param((7, 7), (7, 7), (1, 1), ((0, 0), (0, 0)), id='global_7x7'),
  pytest.param((7, 5), (7, 5), (1, 1), ((0, 0), (0, 0)), id='global_7x5'),
]
DENSE = [
  pytest.param((5, 7), (1, 1), (1, 1), ((0, 0), (0, 0)), id='pointwise'),
  pytest.param((5, 7), (1, 1), (2, 2), ((0, 0), (0, 0)), id='1x1_stride2'),
  pytest.param((5, 7), (1, 1), (1, 1), ((1, 0), (0, 0)), id='1x1_padded'),
  pytest.param((8, 8), (3, 3), (2, 2), ((0, 1), (0, 1)), id='3x3_stride2'),
]


def _inputs(size, window, depthwise, dtype=np.float32, batch=3):
  rng = np.random.default_rng(0)
  inputs, outputs = 5, (5 if depthwise else 6)
  x = rng.normal(size=(batch, *size, inputs))
  kernel = rng.normal(size=(*window, 1 if depthwise else inputs, outputs))
  return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


@functools.partial(
  jax.jit, static_argnames=('backend', 'strides', 'padding', 'depthwise')
)
def _values_and_gradients(x, kernel, g, backend, **kwargs):
  y, pullback = jax.vjp(
    lambda x, kernel: conv2d(x, kernel, backend=backend, **kwargs), x, kernel
  )
  return y, *pullback(g)


def _check_against_grouped(size, window, strides, padding, depthwise, dtype):
  kwargs = {'strides': strides, 'padding': padding, 'depthwise': depthwise}
  x, kernel = _inputs(size, window, depthwise, dtype)
  shape = jax.eval_shape(lambda: conv2d(x, kernel, **kwargs)).shape
  g = jax.random.normal(jax.random.key(1), shape, dtype)
  actual = _values_and_gradients(x, kernel, g, 'cpu', **kwargs)
  # The form for other backends is the plain grouped convolution of XLA; bf16
  # is held to the float32 sums of the same numbers.
  exact = [v.astype(np.float32) for v in (x, kernel, g)]
  expected = _values_and_gradients(*exact, 'gpu', **kwargs)
  # A float32 sum of n products in any order is within n * 2^-24 of the sum of
  # their magnitudes, which is the same convolution of absolute values; two
  # such sums are compared.
  magnitudes = _values_and_gradients(*map(jnp.abs, exact), 'gpu', **kwargs)
  terms = (
    np.prod(kernel.shape[:3]),
    np.prod(window) * (1 if depthwise else kernel.shape[3]),
    np.prod(shape[:3]),
  )
  for a, e, m, n in zip(actual, expected, magnitudes, terms):
    assert a.dtype == dtype
    bound = 2 * n * 2.0**-24 * np.asarray(m)
    if dtype == jnp.bfloat16:  # 8 significant bits, rounded once at the end
      bound += 2.0**-8 * np.abs(e)
    error = np.abs(np.asarray(a, np.float32) - e)
    assert (error <= bound).all(), (error / np.maximum(bound, 1e-30)).max()


@pytest.mark.parametrize(('size', 'window', 'strides', 'padding'), DEPTHWISE)
def test_depthwise_and_its_gradients_equal_the_grouped_convolution(
  size, window, strides, padding
):
  _check_against_grouped(size, window, strides, padding, True, jnp.float32)


@pytest.mark.parametrize(('size', 'window', 'strides', 'padding'), DENSE)
def test_dense_and_its_gradients_equal_the_plain_convolution(
  size, window, strides, padding
):
  _check_against_grouped(size, window, strides, padding, False, jnp.float32)


@pytest.mark.parametrize(
  ('size', 'window', 'strides', 'depthwise'),
  [
    ((8, 8), (3, 3), (1, 1), True),
    ((7, 9), (3, 3), (2, 2), True),
    ((7, 7), (7, 7), (1, 1), True),
    ((5, 7), (1, 1), (1, 1), False),
    ((8, 8), (3, 3), (2, 2), False),
  ],
)
def test_bfloat16_is_the_float32_sum_rounded_once(
  size, window, strides, depthwise
):
  padding = ((0, 0), (0, 0))
  if window == (3, 3):
    padding = same_padding(size, window, strides)
  _check_against_grouped(
    size, window, strides, padding, depthwise, jnp.bfloat16
  )


@pytest.mark.parametrize(
  ('window', 'padding', 'depthwise'),
  [
    ((3, 3), ((1, 1), (1, 1)), True),
    ((6, 6), ((0, 0), (0, 0)), True),
    ((1, 1), ((0, 0), (0, 0)), False),
  ],
)
def test_the_cpu_forms_train_without_a_convolution_operator(
  window, padding, depthwise
):
  x, kernel = _inputs((6, 6), window, depthwise)

  def loss(x, kernel, backend):
    y = conv2d(x, kernel, padding=padding, depthwise=depthwise, backend=backend)
    return (y**2).sum()

  def jaxpr(backend):
    grad = jax.grad(lambda x, k: loss(x, k, backend), (0, 1))
    return str(jax.make_jaxpr(grad)(x, kernel))

  assert 'conv_general_dilated' not in jaxpr('cpu')
  assert 'conv_general_dilated' in jaxpr('gpu')
  assert 'conv_general_dilated' in jaxpr('tpu')


@pytest.mark.skipif(
  jax.default_backend() != 'cpu', reason='looks at what XLA makes for a CPU'
)
def test_what_a_depthwise_kernel_is_computed_from_is_not_computed_per_pixel():
  x, kernel = _inputs((8, 8), (3, 3), True)

  def loss(x, kernel):
    rounded = jnp.floor(kernel * 8) / 8
    return (
      conv2d(x, rounded, padding=((1, 1), (1, 1)), depthwise=True) ** 2
    ).sum()

  compiled = jax.jit(jax.grad(loss)).lower(x, kernel).compile().as_text()
  rounding = [body for body in compiled.split('\n}') if ' floor(' in body]
  assert rounding
  assert not any('f32[3,8,8,5]' in body for body in rounding)


@pytest.mark.parametrize('size', [(7, 8), (112, 112), (1, 2), (9, 6)])
@pytest.mark.parametrize('window', [(1, 1), (3, 3), (2, 5)])
@pytest.mark.parametrize('strides', [(1, 1), (2, 2), (1, 3)])
def test_same_padding_is_that_of_xla(size, window, strides):
  expected = jax.lax.padtype_to_pads(size, window, strides, 'SAME')
  assert same_padding(size, window, strides) == tuple(map(tuple, expected))


@pytest.mark.parametrize(
  ('x', 'kernel', 'kwargs', 'message'),
  [
    ((4, 4, 5), (3, 3, 1, 5), {}, 'wants'),
    ((1, 4, 4, 5), (3, 3, 1, 10), {'depthwise': True}, r'\(1, 5\)'),
    ((1, 4, 4, 5), (3, 3, 4, 6), {}, r'\(5, 6\)'),
    ((1, 4, 4, 5), (3, 3, 5, 6), {'padding': 'SAME'}, 'same_padding'),
    ((1, 4, 4, 5), (3, 3, 5, 6), {'padding': ((0, -1), (0, 0))}, 'negative'),
    ((1, 4, 4, 5), (3, 3, 5, 6), {'strides': (0, 1)}, 'positive'),
    ((1, 2, 4, 5), (3, 3, 5, 6), {}, 'smaller than the kernel'),
  ],
)
def test_shapes_that_do_not_fit_are_an_error(x, kernel, kwargs, message):
  kwargs = {'padding': ((0, 0), (0, 0)), **kwargs}
  with pytest.raises(ValueError, match=message):
    conv2d(jnp.ones(x), jnp.ones(kernel), **kwargs)
