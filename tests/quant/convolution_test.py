import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.quant.convolution import conv2d, explicit_padding

NONE, AROUND = ((0, 0), (0, 0)), ((1, 1), (1, 1))
BOTTOM_RIGHT = ((0, 1), (0, 1))
# (height, width), (kh, kw), strides, padding
DEPTHWISE = {
  'same': ((8, 8), (3, 3), (1, 1), AROUND),
  'odd': ((7, 9), (3, 3), (1, 1), AROUND),
  'stride2_even': ((8, 6), (3, 3), (2, 2), BOTTOM_RIGHT),
  'stride2_torch': ((8, 6), (3, 3), (2, 2), AROUND),
  'stride2_odd': ((7, 9), (3, 3), (2, 2), AROUND),
  'valid': ((7, 8), (3, 3), (1, 1), NONE),
  'lopsided': ((6, 7), (3, 3), (1, 1), ((2, 0), (0, 3))),
  'over_padded': ((6, 7), (3, 3), (1, 1), ((4, 3), (0, 5))),
  'stride2_lopsided': ((6, 7), (3, 3), (2, 2), ((2, 0), (3, 5))),
  'stride_2_by_1': ((9, 8), (3, 3), (2, 1), ((1, 1), (0, 2))),
  '5x5_stride2': ((9, 8), (5, 5), (2, 2), ((1, 2), (2, 2))),
  'gaps': ((9, 8), (2, 3), (3, 3), ((0, 0), (1, 0))),
  '1x1_stride2': ((6, 6), (1, 1), (2, 2), NONE),
  'global_7x7': ((7, 7), (7, 7), (1, 1), NONE),
  'global_7x5': ((7, 5), (7, 5), (1, 1), NONE),
}
DENSE = {
  'pointwise': ((5, 7), (1, 1), (1, 1), NONE),
  '1x1_stride2': ((5, 7), (1, 1), (2, 2), NONE),
  '1x1_padded': ((5, 7), (1, 1), (1, 1), ((1, 0), (0, 0))),
  '3x3_stride2': ((8, 8), (3, 3), (2, 2), BOTTOM_RIGHT),
}
BFLOAT16 = (
  (True, 'same'),
  (True, 'stride2_odd'),
  (True, 'global_7x7'),
  (False, 'pointwise'),
  (False, '3x3_stride2'),
)


def _draw(shape, dtype=np.float32, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def _inputs(size, window, depthwise, dtype=np.float32, batch=3):
  inputs, outputs = 5, (5 if depthwise else 6)
  x = _draw((batch, *size, inputs), dtype)
  kernel = (*window, 1 if depthwise else inputs, outputs)
  return x, _draw(kernel, dtype, seed=1)


@functools.partial(
  jax.jit, static_argnames=('backend', 'strides', 'padding', 'depthwise')
)
def _values_and_gradients(x, kernel, g, backend, **kwargs):
  y, pullback = jax.vjp(
    lambda x, kernel: conv2d(x, kernel, backend=backend, **kwargs), x, kernel
  )
  return y, *pullback(g)


@pytest.mark.parametrize(
  ('depthwise', 'case', 'dtype'),
  [
    *((True, case, jnp.float32) for case in DEPTHWISE),
    *((False, case, jnp.float32) for case in DENSE),
    *((*case, jnp.bfloat16) for case in BFLOAT16),
  ],
)
def test_values_and_gradients_are_those_of_xla(depthwise, case, dtype):
  size, window, strides, padding = (DEPTHWISE if depthwise else DENSE)[case]
  kwargs = {'strides': strides, 'padding': padding, 'depthwise': depthwise}
  x, kernel = _inputs(size, window, depthwise, dtype)
  shape = jax.eval_shape(functools.partial(conv2d, **kwargs), x, kernel).shape
  g = _draw(shape, dtype, seed=2)
  actual = _values_and_gradients(x, kernel, g, 'cpu', **kwargs)
  # The form for other backends is the plain grouped convolution of XLA; bf16
  # is held to the float32 sums of the same numbers.
  exact = [v.astype(np.float32) for v in (x, kernel, g)]
  expected = _values_and_gradients(*exact, 'gpu', **kwargs)
  # A float32 sum of n products in any order is within n * 2^-24 of the sum of
  # their magnitudes, which is the same convolution of absolute values; two
  # such sums are compared.
  magnitudes = _values_and_gradients(*map(np.abs, exact), 'gpu', **kwargs)
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


@pytest.mark.parametrize(
  ('padding', 'size', 'window', 'strides', 'sides'),
  [
    ('SAME', (7, 8), (3, 3), (2, 2), ((1, 1), (0, 1))),
    ('SAME', (9, 6), (2, 5), (1, 3), ((0, 1), (1, 1))),
    ('SAME', (1, 2), (1, 1), (2, 2), ((0, 0), (0, 0))),
    ('VALID', (7, 8), (3, 3), (2, 2), ((0, 0), (0, 0))),
    (((0, 1), (2, 3)), (7, 8), (3, 3), (2, 2), ((0, 1), (2, 3))),
  ],
)
def test_padding_by_name_is_made_explicit(
  padding, size, window, strides, sides
):
  found = explicit_padding(padding, size, window, strides)
  assert found == sides
  assert {type(side) for pair in found for side in pair} == {int}


@pytest.mark.parametrize(
  ('x', 'kernel', 'kwargs', 'message'),
  [
    ((4, 4, 5), (3, 3, 1, 5), {}, 'wants'),
    ((1, 4, 4, 5), (3, 3, 1, 10), {'depthwise': True}, r'\(1, 5\)'),
    ((1, 4, 4, 5), (3, 3, 4, 6), {}, r'\(5, 6\)'),
    ((1, 4, 4, 5), (3, 3, 5, 6), {'padding': 'SAME'}, 'explicit_padding'),
    ((1, 4, 4, 5), (3, 3, 5, 6), {'padding': ((0, -1), (0, 0))}, 'negative'),
    ((1, 4, 4, 5), (3, 3, 5, 6), {'strides': (0, 1)}, 'positive'),
    ((1, 2, 4, 5), (3, 3, 5, 6), {}, 'smaller than the kernel'),
  ],
)
def test_shapes_that_do_not_fit_are_an_error(x, kernel, kwargs, message):
  kwargs = {'padding': ((0, 0), (0, 0)), **kwargs}
  with pytest.raises(ValueError, match=message):
    conv2d(jnp.ones(x), jnp.ones(kernel), **kwargs)
