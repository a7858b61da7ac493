"""A Python in which TensorFlow is not installed."""

import importlib.machinery
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
