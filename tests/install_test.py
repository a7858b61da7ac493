"""The Makefile's environment, the requirements, and life without TensorFlow."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys

import pytest
from settings import ROOT

# A fake Python of the version in its name, which notes how it is called. Its
# `pip` fails if a test asks for that.
PYTHON = f"""#!/usr/bin/env bash
version="${{0##*python}}"
[[ "$version" ]] || version="$(cat "${{0%/*}}/version")"
echo "$version $*" >> "$CALLS"
case "$1 $2" in
  -c*) exec {sys.executable} -c "import sys
sys.version_info = (${{version/./, }}, 7)
$2" ;;
  '-m venv')
    mkdir -p "$3/bin"
    echo "$version" > "$3/bin/version"
    cp "$0" "$3/bin/python"
    touch "$3/pyvenv.cfg" ;;
  '-m pip') echo "WARNING: of pip"; exit "$PIP" ;;
esac
"""


class Checkout:
  """A copy of the Makefile, beside fake Pythons."""

  def __init__(self, folder):
    self.venv = folder / '.venv'
    self._folder = folder
    self._calls = folder / 'calls'
    for path in (ROOT / 'Makefile', *ROOT.glob('requirements*.txt')):
      shutil.copy(path, folder)
    for version in ('3.9', '3.10', '3.11', '3.14'):
      path = folder / f'python{version}'
      path.write_text(PYTHON)
      path.chmod(0o755)

  def make(self, python, *targets, pip=0):
    """Runs make; returns its result and the calls of the Pythons."""
    self._calls.write_text('')
    result = subprocess.run(
      ['make', f'PYTHON=./{python}', *(targets or ['.venv/installed'])],
      cwd=self._folder,
      env={
        'PATH': '/usr/bin:/bin',
        'CALLS': str(self._calls),
        'PIP': str(pip),
      },
      capture_output=True,
      text=True,
      check=False,
    )
    calls = [line for line in self._calls.read_text().splitlines()]
    return result, [call for call in calls if ' -c ' not in call]


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path)


PIP = '-m pip install --requirement'


@pytest.mark.parametrize('python', ['python3.9', 'python3.10', 'python2'])
def test_a_python_that_is_too_old_is_one_line_and_leaves_nothing(
  python, checkout
):
  result, calls = checkout.make(python)
  assert result.returncode
  assert result.stdout == ''
  (line,) = result.stderr.splitlines()
  what = 'none' if python == 'python2' else f'Python {python[6:]}.7'
  assert f'needs Python 3.11 or newer, but ./{python} is {what}; try' in line
  assert not calls
  assert not checkout.venv.exists()
  # A new enough Python then finds nothing in its way.
  result, calls = checkout.make('python3.11', '.venv/installed-dev')
  assert result.returncode == 0, result.stderr
  assert calls == [
    '3.11 -m venv .venv',
    f'3.11 {PIP} requirements.txt',
    f'3.11 {PIP} requirements-dev.txt',
  ]


def test_nobody_sees_what_pip_warns_of_unless_it_fails(checkout):
  result, _ = checkout.make('python3.14', pip=1)
  assert result.returncode
  assert 'WARNING: of pip' in result.stderr
  assert not checkout.venv.exists()
  result, calls = checkout.make('python3.11')
  assert (result.returncode, result.stderr) == (0, '')
  assert 'WARNING' not in result.stdout
  assert calls == ['3.11 -m venv .venv', f'3.11 {PIP} requirements.txt']
  # The second time there is nothing to do, whichever Python is named.
  assert checkout.make('python3.9')[1] == []


def test_what_was_there_is_kept_when_new_requirements_fail(checkout):
  checkout.make('python3.11')
  stamp = checkout.venv / 'installed'
  os.utime(stamp, (0, 0))
  result, calls = checkout.make('python3.11', pip=1)
  assert result.returncode
  assert calls == [f'3.11 {PIP} requirements.txt']
  assert stamp.exists()
  assert checkout.make('python3.11')[1] == calls
  result, calls = checkout.make('python3.11', '.venv/installed-dev', pip=1)
  assert result.returncode
  assert calls == [f'3.11 {PIP} requirements-dev.txt']
  assert checkout.make('python3.11')[1] == []


@pytest.mark.parametrize('kind', ['old', 'unfinished', 'gone'])
def test_an_environment_that_will_not_do_is_made_anew(kind, checkout):
  checkout.make('python3.14')
  old = checkout.venv / 'old'
  old.touch()
  if kind == 'old':
    (checkout.venv / 'bin' / 'version').write_text('3.10')
  elif kind == 'gone':
    (checkout.venv / 'bin' / 'python').unlink()
  else:
    (checkout.venv / 'unfinished').touch()
  result, calls = checkout.make('python3.11')
  assert result.returncode == 0, result.stderr
  assert calls == ['3.11 -m venv .venv', f'3.11 {PIP} requirements.txt']
  assert not old.exists()


def test_a_folder_of_something_else_is_not_touched(checkout):
  (checkout.venv / 'photographs').mkdir(parents=True)
  result, calls = checkout.make('python3.11')
  assert result.returncode
  assert 'VENV is .venv, which is something else' in result.stderr
  assert not calls
  assert (checkout.venv / 'photographs').exists()


def test_all_that_is_imported_is_in_the_requirements():
  # An extra has a file of its own, for one source of data or one runtime.
  files = set(ROOT.glob('requirements*.txt')) - {
    ROOT / 'requirements-dev.txt',
    ROOT / 'requirements-benchmarks.txt',
  }
  required = {
    re.match(r'[\w-]+', line)[0].lower().replace('_', '-')
    for file in files
    for line in file.read_text().splitlines()
    if not line.startswith('#')
  }
  imported = set()
  for folder in ('faceqat', 'configs'):
    for path in (ROOT / folder).rglob('*.py'):
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
          imported |= {alias.name.partition('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
          imported.add(node.module.partition('.')[0])
  # pillow_heif is for users of HEIC images.
  imported -= {'faceqat', 'configs', 'pillow_heif', *sys.stdlib_module_names}
  distributions = importlib.metadata.packages_distributions()
  missing = {
    name
    for name in imported
    # Several distributions share the folder `google`; what is not installed
    # has the name of its package.
    if not {
      distribution.lower().replace('_', '-')
      for distribution in distributions.get(name, [name])
    }
    & required
  }
  assert len(imported) > 20
  assert not missing


def test_where_tensorflow_is_nothing_imports_it():
  """So nothing needs it; `end_to_end_test` runs the commands without it."""
  code = (
    'import importlib, pkgutil, sys, faceqat\n'
    "for module in pkgutil.walk_packages(faceqat.__path__, 'faceqat.'):\n"
    '  importlib.import_module(module.name)\n'
    "sys.exit('tensorflow' in sys.modules)\n"
  )
  result = subprocess.run(
    [sys.executable, '-c', code],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
