"""A small network in the place of a packaged one, whose weights are large."""

import functools

import jax
import numpy as np

from faceqat.calibration import (
  packaged_files,
  packaged_network,
  packaged_program,
)
from faceqat.training.checkpoint import load_network

NAME = packaged_files.NAMES[0]

_load = functools.cache(load_network)


def install(monkeypatch, workdir):
  """Lets `NAME` stand for the network of a run until a test ends."""
  network = _load(str(workdir))
  empty = jax.tree.map(np.zeros_like, network.variables['quant_stats'])
  without = {**network.variables, 'quant_stats': empty}
  uncalibrated = network._replace(variables=without)
  for function, value in (
    ('load_packaged', network),
    ('load_uncalibrated', uncalibrated),
  ):
    monkeypatch.setattr(
      packaged_network, function, lambda name, value=value: value
    )
  monkeypatch.setattr(packaged_program, 'kept_file', lambda name: None)
  return network
