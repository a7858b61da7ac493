"""Eight devices for every test, and small runs that several tests look at.

The devices are eight parts of one CPU, and have to be asked for before JAX is
imported. What needs but one is given `jax.devices()[:1]`.
"""

import os
import pathlib

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)

import jax
import pytest

from faceqat import models
from faceqat.train import train
from tiny_run import make_config

# `model.name = 'tiny'` finds a module here as it finds those of the package.
models.__path__.append(str(pathlib.Path(__file__).parent / 'extra_models'))


@pytest.fixture(scope='session')
def quantized_run(tmp_path_factory):
  """The folder of a run of two float and three quantized steps."""
  workdir = tmp_path_factory.mktemp('quantized_run')
  train(make_config(), str(workdir), jax.devices()[:1])
  return workdir


@pytest.fixture(scope='session')
def float_run(tmp_path_factory):
  """The folder of a run that ends in float, without activation ranges."""
  workdir = tmp_path_factory.mktemp('float_run')
  config = make_config(total_steps=2)
  config.quant.enabled = False
  config.quant.calibration_steps = 0
  train(config, str(workdir), jax.devices()[:1])
  return workdir
