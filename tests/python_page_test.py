"""The Python of docs/python.md and of the README runs as it stands."""

import inspect
import re
import shutil

import page_folder
import pytest
import tiny_run
from settings import ROOT

from configs import mbv2_int8
from faceqat.calibration import packaged_program
from faceqat.evaluation import networks

BLOCK = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """What the pages name; a small network has the name of the packaged one."""
  page_folder.write(tmp_path)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(
    packaged_program, 'kept_file', lambda name: tmp_path / 'program.safetensors'
  )
  return tmp_path


def run(page, names):
  """Runs the blocks of a page one after the other, in one module."""
  text = (ROOT / page).read_text()
  for block in BLOCK.finditer(text):
    line = text[: block.start(1)].count('\n')
    # Errors name the line of the page.
    exec(compile('\n' * line + block[1], page, 'exec'), names)
  return names


def test_the_readme_begins_with_python_that_runs(folder):
  names = run('README.md', {})
  assert len(names['embeddings']) == len(names['faces']) == 1
  assert len(names['people']) == 9


def test_the_page_of_the_python_api_runs(folder, quantized_run, monkeypatch):
  workdir, _ = quantized_run
  shutil.copytree(workdir, folder / 'runs' / 'mbv2_int8')
  shutil.copy(folder / 'program.safetensors', folder / 'runs' / 'mbv2_int8')
  # The run is over already, so it is restored and goes no further.
  config = tiny_run.make_config()
  monkeypatch.setattr(mbv2_int8, 'get_config', lambda: config)
  # This takes longer than all else; networks_test.py is about it.
  accepts = inspect.signature(networks.evaluate_network).bind
  figures = {'integer': {'accuracy': 0.5}}
  monkeypatch.setattr(
    networks, 'evaluate_network', lambda *args: accepts(*args) and figures
  )
  names = run('docs/python.md', {})
  assert names['decision'].same is None
  assert 'give a threshold' in names['decision'].why_not
  assert names['views'].dtype == 'int16'
  assert {name: x.broken for name, x in names['files'].items()} == {
    'program': False,
    'tflite': False,
  }
  assert (folder / 'export' / 'model.tflite').exists()
