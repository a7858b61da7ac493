"""Eight devices for every test, and small runs that several tests look at.

The devices are parts of one CPU, and have to be asked for before JAX is
imported. What needs but one is given `jax.devices()[:1]`.
"""

import contextlib
import os
import pathlib

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# TensorFlow, to which some tests compare, then sums in one order on every CPU.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)

import jax
import pytest
import tiny_run

from faceqat import models
from faceqat.train import train

# `model.name = 'tiny'` finds a module there as it finds those of the package.
models.__path__.append(str(pathlib.Path(__file__).parent / 'extra_models'))


@contextlib.contextmanager
def _compiling_quickly(folder):
  """XLA does without its optimisations, and keeps what it has compiled.

  Here a network takes longer to compile than to run, and `train` makes its
  step anew each time that it is called.
  """
  options = {
    'jax_disable_most_optimizations': True,
    'jax_compilation_cache_dir': str(folder),
    'jax_persistent_cache_min_compile_time_secs': 0,
  }
  previous = {name: jax.config.values[name] for name in options}
  for name, value in options.items():
    jax.config.update(name, value)
  yield
  for name, value in previous.items():
    jax.config.update(name, value)


@pytest.fixture(scope='session')
def compiled(tmp_path_factory):
  """The folder of what these tests have compiled."""
  return tmp_path_factory.mktemp('compiled')


@pytest.fixture(scope='module')
def quick_compilation(compiled):
  """For modules whose tests train, or read what was trained."""
  with _compiling_quickly(compiled):
    yield


@pytest.fixture(scope='session')
def quantized_run(compiled, tmp_path_factory):
  """A run to the end: its folder, and digests of the batches it took."""
  workdir = tmp_path_factory.mktemp('quantized_run')
  with _compiling_quickly(compiled), tiny_run.taken_batches() as batches:
    train(tiny_run.make_config(), str(workdir), jax.devices()[:1])
  return workdir, batches


@pytest.fixture(scope='session')
def float_run(compiled, tmp_path_factory):
  """The folder of a run in float, whose ranges were never observed."""
  workdir = tmp_path_factory.mktemp('float_run')
  config = tiny_run.make_config(total_steps=2)
  config.quant.update(enabled=False, calibration_steps=0)
  with _compiling_quickly(compiled):
    train(config, str(workdir), jax.devices()[:1])
  return workdir
