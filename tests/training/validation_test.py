import types

import numpy as np
import pytest
from tiny_run import NUM_CLASSES, make_config, make_start

from faceqat.quant.spec import FLOAT
from faceqat.training.plan import Plan
from faceqat.training.validation import validate


def test_the_average_is_of_images_not_of_batches():
  config = make_config()
  _, state, _ = make_start(config)
  rng = np.random.default_rng(0)
  known = [
    {
      'image': rng.integers(0, 256, (32, 32, 3), np.uint8),
      'label': np.int32(rng.integers(NUM_CLASSES)),
    }
    for _ in range(11)
  ]

  def scores(batch_size):
    config.eval.batch_size = batch_size
    return validate(
      state,
      Plan(config),
      lambda batch: batch,
      types.SimpleNamespace(known=known, validation=None, skipped=None),
      config,
      FLOAT,
    )

  whole, parts = scores(11), scores(4)
  assert set(whole) == {'validation/loss', 'validation/accuracy'}
  # Hits are counted: sums of 0 and 1 are exact in any order.
  assert parts['validation/accuracy'] == whole['validation/accuracy']
  # Losses are not, and each batch size is a program of its own: a last bit of
  # 2^-24 may grow through two layers. Averages of batches differ by a percent.
  assert parts['validation/loss'] == pytest.approx(
    whole['validation/loss'], rel=1e-4
  )
