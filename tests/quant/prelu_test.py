import jax
import jax.numpy as jnp
import numpy as np

from faceqat.quant.prelu import prelu


def test_the_gradients_of_prelu_are_those_of_its_formula():
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (2, 5, 5, 4)).at[0, 0, 0].set(0.0)
  alpha = jax.random.uniform(keys[1], (4,), minval=-0.5, maxval=1.5)
  weights = jax.random.normal(keys[2], x.shape)

  def gradients(function):
    return jax.grad(lambda *a: jnp.sum(weights * function(*a)), (0, 1))(
      x, alpha
    )

  formula = gradients(lambda x, alpha: jnp.where(x >= 0, x, alpha * x))
  for ours, expected in zip(gradients(prelu), formula):
    # A sum of 50 float32 terms of size 1, in another order.
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
