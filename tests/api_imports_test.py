"""What `import faceqat` and a program do without."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest
from settings import ROOT
from small_programs import PROGRAM

import faceqat
from faceqat.integer import program as integer_program

# Each takes a good part of a second to import, and TensorFlow several.
LARGE = (
  *('tensorflow', 'sklearn', 'scipy', 'orbax', 'matplotlib', 'grain', 'optax'),
  *('flax', 'jax', 'onnx', 'onnxruntime', 'tensorboard', 'cv2'),
)
SCRIPT = """
import json, sys, faceqat
imported = [*sys.modules]
import numpy as np
model = faceqat.load(sys.argv[1])
crop = np.zeros([4, 4, 3], np.uint8)
model.embed([crop])
assert model.verify(crop, crop, threshold=0.5, aligned=True).same
print(json.dumps([imported, [*sys.modules]]))
"""


@pytest.fixture(scope='module')
def modules(tmp_path_factory):
  """Those after `import faceqat`, and those after a first embedding."""
  path = tmp_path_factory.mktemp('program') / 'program.safetensors'
  integer_program.save(PROGRAM, path)
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, path],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def test_the_package_imports_nothing(modules):
  imported, _ = modules
  assert [name for name in imported if name.startswith('faceqat')] == [
    'faceqat'
  ]
  assert 'numpy' not in imported


def test_a_program_embeds_without_what_a_training_needs(modules):
  _, loaded = modules
  assert 'faceqat.export.litert' in loaded
  assert [name for name in LARGE if name in loaded] == []


def test_type_checkers_see_what_is_imported():
  tree = ast.parse(pathlib.Path(faceqat.__file__).read_text())
  typing = next(node for node in tree.body if isinstance(node, ast.If))
  seen = {
    name.asname or name.name: (
      node.module.removeprefix('faceqat.'),
      name.name,
    )
    for node in typing.body
    for name in node.names
  }
  assert seen == faceqat._PUBLIC


def test_what_is_public_is_there():
  assert faceqat.__all__ == [*faceqat._PUBLIC]
  for name in faceqat.__all__:
    assert getattr(faceqat, name).__doc__, name
    assert name in dir(faceqat)
  # An import of a module of this name would put it in the place of a function.
  folder = ROOT / 'faceqat'
  modules = {path.stem for path in folder.iterdir()}
  assert modules.isdisjoint(faceqat.__all__)
  with pytest.raises(AttributeError, match="no attribute 'none'"):
    # To look it up is what fails.
    faceqat.none  # noqa: B018
