"""Runs the notebooks of colab/ in their small form."""

import ast
import json

import nbformat
import pytest
import settings
from nbclient import NotebookClient
from settings import ROOT

from faceqat.integer import program as integer_program

NAMES = ['train_and_quantize', 'inspect_quantization', 'verify_faces']


def read(name):
  return nbformat.read(ROOT / 'colab' / f'{name}.ipynb', as_version=4)


def code_cells(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def lines(notebook):
  """The lines of code, without blank ones and comments."""
  return [
    line
    for cell in code_cells(notebook)
    for line in cell.source.splitlines()
    if line.strip() and not line.strip().startswith('#')
  ]


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
  """The folder that they share: one notebook trains, the others read."""
  return tmp_path_factory.mktemp('notebooks')


@pytest.fixture(scope='module')
def execute(workspace):
  """A function from a notebook's name to the notebook with outputs."""
  environment = {
    **settings.one_device(),
    'FACEQAT_SMALL': '1',
    'PYTHONPATH': str(ROOT),
    'IPYTHONDIR': str(workspace / 'ipython'),
  }

  def run(name):
    notebook = read(name)
    client = NotebookClient(
      notebook,
      timeout=600,
      kernel_name='python3',
      resources={'metadata': {'path': str(workspace)}},
    )
    client.execute(env=environment)
    return notebook

  return run


@pytest.fixture(scope='module')
def trained(execute):
  return execute('train_and_quantize')


def printed(notebook):
  return ''.join(
    output.text
    for cell in code_cells(notebook)
    for output in cell.outputs
    if output.output_type == 'stream' and output.name == 'stdout'
  )


def pictures(notebook):
  return [
    output.data['image/png']
    for cell in code_cells(notebook)
    for output in cell.outputs
    if 'image/png' in output.get('data', {})
  ]


def test_every_notebook_is_tested():
  found = {path.stem for path in (ROOT / 'colab').glob('*.ipynb')}
  assert found == set(NAMES) != set()


@pytest.mark.parametrize('name', NAMES)
def test_a_notebook_is_stored_as_it_is_before_it_ran(name):
  notebook = read(name)
  nbformat.validate(notebook)
  for cell in code_cells(notebook):
    assert cell.outputs == []
    assert cell.execution_count is None
  assert len(lines(notebook)) < 60


@pytest.mark.parametrize('name', NAMES)
def test_pip_is_the_only_magic_and_runs_where_faceqat_is_missing(name):
  notebook = read(name)
  magics = [line for line in lines(notebook) if line.strip()[0] in '%!']
  assert magics == ['  %pip install --quiet --editable {CLONE}']
  (cell,) = (c for c in code_cells(notebook) if magics[0] in c.source)
  tree = ast.parse(cell.source.replace(magics[0].strip(), 'install()'))
  (condition,) = (node for node in tree.body if isinstance(node, ast.If))
  assert ast.unparse(condition.test) == (
    "importlib.util.find_spec('faceqat') is None"
  )


def test_a_small_network_is_trained_evaluated_and_exported(trained, workspace):
  out = printed(trained)
  assert 'step 4/4' in out
  assert '[fake_quant]' in out
  results = json.loads((workspace / 'runs/notebook/results.json').read_text())
  assert list(results) == ['float', 'fake_quant', 'integer', 'integer_match']
  # The faces, the curves, the ROC.
  assert len(pictures(trained)) == 3
  export = workspace / 'runs/notebook/export'
  program = integer_program.load(export / 'program.safetensors')
  size = program.tensors[program.output].shape[0]
  assert f'uint8(8, 32, 32, 3) -> int8(8, {size})' in out
  (row,) = (line for line in out.splitlines() if line.startswith('tflite '))
  _, contract, _, outputs, differing, largest, _ = row.split()
  assert (contract, outputs) == ('tflite_ref', f'{8 * size:,}')
  assert (differing, largest) == ('0', '0')


def test_a_run_is_taken_apart(trained, execute):
  notebook = execute('inspect_quantization')
  # Ranges, weights, noise, bits.
  assert len(pictures(notebook)) == 4
  out = printed(notebook)
  assert 'float against integer on 16 images' in out
  before, after = (
    int(line.removeprefix(name).split()[0].replace(',', ''))
    for name in ('as it is', 'lowered')
    for line in out.splitlines()
    if line.startswith(name)
  )
  assert after < before


def test_faces_are_verified_and_found_by_integers(trained, execute):
  notebook = execute('verify_faces')
  # Scores, two pairs, the gallery.
  assert len(pictures(notebook)) == 3
  out = printed(notebook)
  threshold = int(out.partition('score >= ')[2].partition(':')[0])
  assert -(2**29) <= threshold <= 2**29 + 1
  assert '% of 400 new pairs right' in out
  assert '% of 80 probes: right at once' in out
