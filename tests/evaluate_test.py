import json

import command_line
import pytest

from faceqat import evaluate
from faceqat.integer import program as integer_program
from faceqat.training.checkpoint import load_network

CONFIG = 'tests/support/tiny_run.py'


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


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'foreign', 'checkpoint'])
def test_a_damaged_program_is_refused_and_leaves_nothing(
  damage, evaluated, tmp_path
):
  path = tmp_path / 'program.safetensors'
  data = bytearray((evaluated[2] / 'program.safetensors').read_bytes())
  if damage == 'cut':
    data = data[: len(data) // 2]
  elif damage == 'flipped':
    data[-100] ^= 1
  elif damage == 'foreign':
    data = b'a photo'
  else:
    data = (evaluated[2] / 'float.safetensors').read_bytes()
  path.write_bytes(data)
  with pytest.raises(ValueError, match=f'{path} (is|has)'):
    command_line.run(evaluate, model=path, config=CONFIG)
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('program', [False, True])
def test_wrong_pairs_leave_nothing(program, evaluated, quantized_run, tmp_path):
  model = quantized_run[0]
  if program:
    model = evaluated[2] / 'program.safetensors'
  flags = {'config': CONFIG, 'config.eval.path': 'nowhere.bin'}
  with pytest.raises(ValueError, match='no verification file nowhere'):
    command_line.run(evaluate, model=model, out=tmp_path / 'out', **flags)
  assert not (tmp_path / 'out').exists()
