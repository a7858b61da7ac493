"""Eight devices for every test, and small runs that several tests look at.

The devices are parts of one CPU, and have to be asked for before JAX is
imported. What needs but one is given `jax.devices()[:1]`.
"""

import gc
import os

import pytest
import settings

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Of any program, however small.
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
# TensorFlow, to which some tests compare, then sums in one order on every CPU.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
os.environ['XLA_FLAGS'] = settings.xla_flags(devices=8)

# What imports JAX is imported where it is used: the process that only hands
# out tests starts without it.

# Begun first, as the process that met one of them last would end alone. They
# start commands, which compile for themselves.
SLOWEST = (
  'end_to_end_test.py',
  'distributed_test.py',
  'notebooks_test.py',
  'small_forms_test.py',
  'whole_networks_test.py',
  'loop_test.py',
)


def pytest_collection_modifyitems(items):
  items.sort(
    key=lambda item: (
      SLOWEST.index(item.path.name)
      if item.path.name in SLOWEST
      else len(SLOWEST)
    )
  )


def pytest_collection_finish():
  # Tracing makes many objects, among which the collector would look again and
  # again through all that was imported: a tenth of the time.
  gc.freeze()
  gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope='session', autouse=True)
def _compiled_once(tmp_path_factory):
  """What one process of this run has compiled, no other compiles again.

  What is read are the bits that compiling would give. It is not kept for a
  later run, which may be on another processor.
  """
  folder = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    # Each of these processes has a folder in one that is common to all.
    folder = folder.parent
  # For this process, and for those that tests start.
  import jax

  os.environ['JAX_COMPILATION_CACHE_DIR'] = str(folder / 'compiled')
  jax.config.update('jax_compilation_cache_dir', str(folder / 'compiled'))


@pytest.fixture(scope='session')
def quantized_run(tmp_path_factory):
  """A run to the end: its folder, and digests of the batches it took."""
  import jax
  import tiny_run

  from faceqat.training.loop import train

  workdir = tmp_path_factory.mktemp('quantized_run')
  with tiny_run.taken_batches() as batches:
    train(tiny_run.make_config(), str(workdir), jax.devices()[:1])
  return workdir, batches


@pytest.fixture(scope='session')
def float_run(tmp_path_factory):
  """The folder of a run in float, whose ranges were never observed."""
  import jax
  import tiny_run

  from faceqat.training.loop import train

  workdir = tmp_path_factory.mktemp('float_run')
  config = tiny_run.make_config(total_steps=2)
  config.quant.update(enabled=False, calibration_steps=0)
  train(config, str(workdir), jax.devices()[:1])
  return workdir


@pytest.fixture(scope='session')
def evaluated(quantized_run, tmp_path_factory):
  """A network, what its evaluation gave, and the folder of its files."""
  from faceqat.evaluation.networks import evaluate_network
  from faceqat.training.checkpoint import load_network

  workdir, _ = quantized_run
  outdir = tmp_path_factory.mktemp('evaluation') / 'made' / 'here'
  network = load_network(str(workdir))
  return network, evaluate_network(network, str(outdir)), outdir
