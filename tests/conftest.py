"""Eight devices for every test, and small runs that several tests look at.

The devices are parts of one CPU, and have to be asked for before JAX is
imported. What needs but one is given `jax.devices()[:1]`.
"""

import contextlib
import os
import pathlib

import settings

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# TensorFlow, to which some tests compare, then sums in one order on every CPU.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
os.environ['XLA_FLAGS'] = settings.xla_flags(devices=8)

import jax
import pytest
import tiny_run

from faceqat import models
from faceqat.train import train

# `model.name = 'tiny'` finds a module there as it finds those of the package.
models.__path__.append(str(pathlib.Path(__file__).parent / 'extra_models'))

# Begun first, as the process that met one of them last would end alone. They
# start commands, which compile for themselves.
SLOWEST = (
  'end_to_end_test.py',
  'distributed_test.py',
  'notebooks_test.py',
  'networks_test.py',
  'train_test.py',
)


def pytest_collection_modifyitems(items):
  items.sort(
    key=lambda item: (
      SLOWEST.index(item.path.name)
      if item.path.name in SLOWEST
      else len(SLOWEST)
    )
  )


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
  """The folder of what this run of the tests has compiled, in any process.

  What is read from it are the bits that compiling would give. It is not kept
  for a later run, which may be on another processor.
  """
  folder = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    # Each of these processes has a folder in one that is common to all.
    folder = folder.parent
  return folder / 'compiled'


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
