"""Imports all of faceqat; without TensorFlow also trains and evaluates.

  python tests/without_tensorflow.py present
  python tests/without_tensorflow.py absent WORKDIR

`absent`: as on a machine where nobody has installed it.
"""

import importlib
import importlib.machinery
import pkgutil
import sys


class _Finder(importlib.machinery.PathFinder):
  """Finds all that is installed but TensorFlow."""

  @classmethod
  def find_spec(cls, name, path=None, target=None):
    if name.partition('.')[0] in ('tensorflow', 'keras'):
      return None
    return super().find_spec(name, path, target)


def remove():
  """From here on TensorFlow is to this process as if it were not there."""
  finders = sys.meta_path
  finders[finders.index(importlib.machinery.PathFinder)] = _Finder


def import_all():
  import faceqat

  for module in pkgutil.walk_packages(faceqat.__path__, 'faceqat.'):
    importlib.import_module(module.name)


def train_and_evaluate(workdir):
  import conftest  # noqa: F401, which knows the tiny network
  import jax
  import tiny_run

  from faceqat.checkpoint import load_network
  from faceqat.evaluate import evaluate_network
  from faceqat.train import train

  # In float; it is calibrated at the end.
  config = tiny_run.make_config(total_steps=2)
  train(config, workdir, jax.devices()[:1])
  evaluate_network(load_network(workdir), workdir, config)


if __name__ == '__main__':
  if sys.argv[1] == 'absent':
    remove()
    train_and_evaluate(sys.argv[2])
  import_all()
  if 'tensorflow' in sys.modules:
    sys.exit('TensorFlow was imported')
