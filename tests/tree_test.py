"""Test files mirror the tree of the modules."""

import ast
import functools
import pathlib
import re

from settings import ROOT

TESTS = ROOT / 'tests'
# These test whole programs and files, not a module each.
APART = ('exactness', 'fuzz')
FILES = [
  path.relative_to(TESTS)
  for path in sorted(TESTS.rglob('*_test.py'))
  if path.relative_to(TESTS).parts[0] not in APART
]


def misplaced(path: pathlib.Path) -> list[str]:
  """The paths of its module, if all are in other folders than the test."""
  name = path.name.replace('_test.py', '.py')
  modules = [
    module.relative_to(ROOT / 'faceqat')
    for module in (ROOT / 'faceqat').rglob(name)
  ]
  folders = {module.parent for module in modules}
  return [] if path.parent in folders else sorted(map(str, modules))


def test_a_test_lies_where_its_module_does():
  assert misplaced(pathlib.Path('files/loop_test.py')) == ['training/loop.py']
  assert len(FILES) > 100
  assert {str(path): misplaced(path) for path in FILES if misplaced(path)} == {}


def test_no_two_files_have_one_name():
  """pytest imports them by name."""
  names = [path.name for path in TESTS.rglob('*.py')]
  assert sorted(names) == sorted(set(names))


def test_no_test_imports_another():
  """Shared code is in support/."""
  imports = re.compile(r'^\s*(?:import|from) \w+_test\b', re.MULTILINE)
  assert imports.search('import numpy\nfrom loop_test import train\n')
  paths = TESTS.rglob('*.py')
  assert [path for path in paths if imports.search(path.read_text())] == []


@functools.cache
def nodes():
  """(file, node) of all syntax trees of the package."""
  return [
    (path.name, node)
    for path in (ROOT / 'faceqat').rglob('*.py')
    for node in ast.walk(ast.parse(path.read_text()))
  ]


def test_the_text_of_an_error_has_no_full_stop_at_its_end():
  """A command puts it into a line of its own, and others build on it."""
  texts = []
  for _, node in nodes():
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
      for text in node.exc.args[:1]:
        last = text.values[-1] if isinstance(text, ast.JoinedStr) else text
        if isinstance(last, ast.Constant) and isinstance(last.value, str):
          texts.append(last.value)
  assert len(texts) > 300
  assert [text for text in texts if text.endswith('.')] == []


def test_a_file_is_read_in_one_sitting():
  folders = 'benchmarks', 'configs', 'examples', 'faceqat', 'launch', 'tests'
  paths = [path for name in folders for path in (ROOT / name).rglob('*.py')]
  counts = {path: len(path.read_text().splitlines()) for path in paths}
  assert len(counts) > 600
  assert {path for path, count in counts.items() if count > 400} == set()


def test_few_functions_have_more_than_sixty_lines():
  long = [
    f'{name}: {node.name}'
    for name, node in nodes()
    if isinstance(node, ast.FunctionDef)
    and node.end_lineno - node.lineno + 1 > 60
  ]
  assert len(long) <= 5, long
