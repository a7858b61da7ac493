import json

import command_line
import pytest

from faceqat import evaluate
from faceqat.integer import program as integer_program
from faceqat.training.checkpoint import load_network

CONFIG = 'tests/support/tiny_run.py'
# How ml_collections imports the file of a config.
pytestmark = pytest.mark.filterwarnings(
  r'ignore:the load_module\(\) method:DeprecationWarning'
)


@pytest.mark.usefixtures('undrawn')
def test_the_command_evaluates_the_step_and_contract_that_are_asked_for(
  quantized_run, tmp_path, capsys
):
  workdir, _ = quantized_run
  flags = {'step': 'best', 'contract': 'xnnpack', 'out': tmp_path}
  command_line.run(evaluate, model=workdir, precisions='integer', **flags)
  best = load_network(str(workdir), 'best').step
  program = integer_program.load(tmp_path / 'program.safetensors')
  assert program.metadata['step'] == str(best)
  assert program.contract == 'xnnpack'
  results = json.loads((tmp_path / 'results.json').read_text())
  # Without the float precision there is nothing to be near to.
  assert list(results) == ['integer', 'integer_match']
  assert 'cosine_mean' not in results['integer']
  assert 'accuracy %' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ({'model': 'nowhere'}, 'nowhere does not exist; give the folder of a trai'),
    ({'model': '{empty}'}, 'empty holds no checkpoints; give the folder of a '),
    ({'model': '{program}'}, 'a program file does not say on which pairs'),
    ({'model': '{run}', 'step': '7'}, "no checkpoint '7'; there are"),
  ],
)
def test_a_wrong_model_is_refused(
  flags, message, evaluated, quantized_run, tmp_path
):
  (tmp_path / 'empty').mkdir()
  places = {
    'empty': tmp_path / 'empty',
    'program': evaluated[2] / 'program.safetensors',
    'run': quantized_run[0],
  }
  flags = {name: text.format(**places) for name, text in flags.items()}
  with pytest.raises(ValueError, match=message):
    command_line.run(evaluate, **flags)


def test_a_damaged_program_is_refused_and_leaves_nothing(evaluated, tmp_path):
  path = tmp_path / 'program.safetensors'
  whole = (evaluated[2] / 'program.safetensors').read_bytes()
  # Half of one, and the weights of the float network.
  for data in (
    whole[: len(whole) // 2],
    (evaluated[2] / 'float.safetensors').read_bytes(),
  ):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f'{path} (is|has)'):
      command_line.run(evaluate, model=path, config=CONFIG)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('program', [False, True])
def test_wrong_pairs_leave_nothing(program, evaluated, quantized_run, tmp_path):
  model = quantized_run[0]
  if program:
    model = evaluated[2] / 'program.safetensors'
  config = tmp_path / 'config.py'
  config.write_text(
    'import tiny_run\n\n\n'
    'def get_config():\n'
    '  config = tiny_run.make_config()\n'
    "  config.eval.path = 'nowhere.bin'\n"
    '  return config\n'
  )
  flags = {'config': config, 'out': tmp_path / 'out'}
  with pytest.raises(ValueError, match='no verification file nowhere'):
    command_line.run(evaluate, model=model, **flags)
  assert not (tmp_path / 'out').exists()
