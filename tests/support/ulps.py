"""Numbers that are just beside others, where rounding may go either way."""

import numpy as np


def beside(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
  """float32 x, each as it is or a unit in the last place up or down."""
  ulps = rng.integers(-1, 2, x.shape)
  return np.where(ulps, np.nextafter(x, np.float32(ulps * 1e30)), x)
