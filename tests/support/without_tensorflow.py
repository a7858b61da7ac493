"""Imports all of faceqat; without TensorFlow also trains and evaluates.

  python tests/support/without_tensorflow.py present
  python tests/support/without_tensorflow.py absent WORKDIR

`absent`: as if TensorFlow and its data sets were not installed.
"""

import importlib
import importlib.machinery
import pkgutil
import sys


def remove(*packages):
  """Makes packages impossible to import, as if they were not installed."""
  plain = importlib.machinery.PathFinder

  class Finder(plain):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
      if name.partition('.')[0] in packages:
        return None
      return plain.find_spec(name, path, target)

  sys.meta_path[sys.meta_path.index(plain)] = Finder


def import_all():
  import faceqat

  for module in pkgutil.walk_packages(faceqat.__path__, 'faceqat.'):
    importlib.import_module(module.name)


def train_and_evaluate(workdir):
  import jax
  import tiny_run

  from faceqat.evaluation.networks import evaluate_network
  from faceqat.training.checkpoint import load_network
  from faceqat.training.loop import train

  # A float run, calibrated at the end.
  config = tiny_run.make_config(total_steps=2)
  train(config, workdir, jax.devices()[:1])
  evaluate_network(load_network(workdir), workdir, config)


if __name__ == '__main__':
  if sys.argv[1] == 'absent':
    remove('tensorflow', 'tensorflow_datasets')
    train_and_evaluate(sys.argv[2])
  import_all()
  if 'tensorflow' in sys.modules:
    sys.exit('TensorFlow was imported')
