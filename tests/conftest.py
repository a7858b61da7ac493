"""Eight CPU devices for every test, and small runs that several tests share.

The devices have to be requested before JAX is imported. A test that needs one
takes `jax.devices()[:1]`.
"""

import functools
import gc
import os

import pytest
import settings

from faceqat import interruption

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Cache every compiled program, however small.
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
# Makes TensorFlow, a reference of some tests, sum in one order on every CPU.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
os.environ['XLA_FLAGS'] = settings.xla_flags(devices=8)

# JAX is imported in the fixtures: the process of xdist that only hands out
# tests starts without it.

# These take longest. They run first, so that no process ends long after the
# others; the notebooks late enough to reuse what end_to_end_test compiled.
SLOWEST = (
  'end_to_end_test.py',
  'distributed_test.py',
  'small_forms_test.py',
  'notebooks_test.py',
  'loop_test.py',
  'whole_networks_test.py',
  'start_test.py',
  'networks_test.py',
  'install_test.py',
)


# A command that runs here would start the thread that ends a process after
# SIGINT, which other tests send to theirs. Processes of their own test it.
interruption.watch = lambda: None


def pytest_collection_modifyitems(items):
  items.sort(
    key=lambda item: (
      SLOWEST.index(item.path.name)
      if item.path.name in SLOWEST
      else len(SLOWEST)
    )
  )


def pytest_collection_finish():
  # Tracing makes many objects. Without this the garbage collector would scan
  # all imported modules again and again: a tenth of the time.
  gc.freeze()
  gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope='session', autouse=True)
def _compiled_once(request, tmp_path_factory):
  """Shares compiled programs between processes, and with later runs.

  Without pytest's own cache, as by `-p no:cacheprovider`, they are kept for
  this run alone.
  """
  import jax

  from faceqat import compilation_cache

  cache = getattr(request.config, 'cache', None)
  folder = tmp_path_factory.getbasetemp()
  # Decoded images and the like are not the user's.
  os.environ['XDG_CACHE_HOME'] = str(folder / 'cache')
  if cache:
    folder = cache.mkdir('compiled')
  elif 'PYTEST_XDIST_WORKER' in os.environ:
    # The parent is common to all worker processes.
    folder = folder.parent / 'compiled'
  else:
    folder /= 'compiled'
  # Set for this process and for those that tests start.
  compilation_cache.keep(str(folder))
  jax.config.update('jax_compilation_cache_dir', str(folder))


@pytest.fixture(scope='module', autouse=True)
def _one_mlir_context():
  """The programs of a file share what JAX otherwise makes for each of them.

  A context of MLIR takes 5 ms, a quarter of what a small program costs.
  """
  from jax._src.interpreters import mlir

  with pytest.MonkeyPatch.context() as patch:
    make = functools.cache(mlir.make_ir_context)
    patch.setattr(mlir, 'make_ir_context', make)
    yield


@pytest.fixture
def undrawn(monkeypatch):
  """An evaluation draws no figures, each of which takes a second."""
  from faceqat.report import figures

  for name in ('roc_figure', 'pairs_figure', 'curves_figure'):
    monkeypatch.setattr(figures, name, lambda *_, **__: None)


@pytest.fixture(scope='session')
def quantized_run(tmp_path_factory):
  """A finished run: its folder, and digests of the batches it took."""
  import jax
  import tiny_run

  from faceqat.training.loop import train

  workdir = tmp_path_factory.mktemp('quantized_run')
  with tiny_run.taken_batches() as batches:
    train(tiny_run.make_config(), str(workdir), jax.devices()[:1])
  return workdir, batches


@pytest.fixture(scope='session')
def float_run(tmp_path_factory):
  """The folder of a float run without observed ranges."""
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
  """A network, the results of its evaluation, and the folder of its files."""
  from faceqat.evaluation.networks import evaluate_network
  from faceqat.training.checkpoint import load_network

  workdir, _ = quantized_run
  outdir = tmp_path_factory.mktemp('evaluation') / 'made' / 'here'
  network = load_network(str(workdir))
  return network, evaluate_network(network, str(outdir)), outdir
