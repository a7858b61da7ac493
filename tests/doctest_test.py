"""The examples of docstrings and of pages print what they show."""

import doctest
import importlib

import page_folder
import pytest
from settings import ROOT


def with_examples(*patterns):
  paths = [path for name in patterns for path in sorted(ROOT.glob(name))]
  return [
    str(path.relative_to(ROOT)) for path in paths if '>>> ' in path.read_text()
  ]


PAGES = with_examples('README.md', 'docs/*.md')
MODULES = with_examples('faceqat/**/*.py')


def test_there_are_examples():
  assert 'docs/integer_arithmetic.md' in PAGES
  assert 'faceqat/report/table.py' in MODULES


@pytest.fixture(scope='session')
def api_folder(tmp_path_factory):
  """Where the examples of the Python API find their photographs."""
  return page_folder.write(tmp_path_factory.mktemp('api'))


@pytest.mark.parametrize('path', [*PAGES, *MODULES])
def test_an_example_prints_what_it_shows(path, request, monkeypatch):
  if path.startswith('faceqat/api/'):
    monkeypatch.chdir(request.getfixturevalue('api_folder'))
  if path in PAGES:
    result = doctest.testfile(str(ROOT / path), module_relative=False)
  else:
    name = path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')
    result = doctest.testmod(importlib.import_module(name))
  assert result.attempted
  assert not result.failed
