import json
import types

import pytest
from tiny_run import make_config

from faceqat import evaluate
from faceqat.evaluation import networks
from faceqat.evaluators.predict import (
  PRECISIONS,
)
from faceqat.integer import program as integer_program
from faceqat.training.checkpoint import load_network


def run_main(monkeypatch, **flags):
  flags = {
    'step': 'latest',
    'out': None,
    'config': None,
    'contract': 'tflite_ref',
    'precisions': PRECISIONS,
    **flags,
  }
  monkeypatch.setattr(
    evaluate,
    'flags',
    types.SimpleNamespace(FLAGS=types.SimpleNamespace(**flags)),
  )
  evaluate.main()


def test_the_command_evaluates_the_step_and_contract_that_are_asked_for(
  quantized_run, tmp_path, monkeypatch, capsys
):
  workdir, _ = quantized_run
  asked = {
    'step': 'best',
    'contract': 'xnnpack',
    'out': str(tmp_path),
    'precisions': ['integer'],
  }
  run_main(monkeypatch, model=str(workdir), **asked)
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
  ('model', 'message'),
  [
    ('nowhere', 'nowhere does not exist; give the folder of a training run'),
    ('empty', 'empty holds no checkpoints; give the folder of a training'),
    ('program', 'a program file does not say on which pairs'),
    ('step', "no checkpoint '7'; there are"),
  ],
)
def test_a_wrong_model_is_refused(
  model, message, evaluated, quantized_run, tmp_path, monkeypatch
):
  (tmp_path / 'empty').mkdir()
  flags = {
    'nowhere': {'model': str(tmp_path / 'nowhere')},
    'empty': {'model': str(tmp_path / 'empty')},
    'program': {'model': str(evaluated[2] / 'program.safetensors')},
    'step': {'model': str(quantized_run[0]), 'step': '7'},
  }[model]
  with pytest.raises(ValueError, match=message):
    run_main(monkeypatch, **flags)


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'foreign', 'checkpoint'])
def test_a_damaged_program_is_refused_and_leaves_nothing(
  damage, evaluated, tmp_path, monkeypatch
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
    run_main(monkeypatch, model=str(path), config=make_config())
  assert list(tmp_path.iterdir()) == [path]


def test_wrong_pairs_leave_nothing(evaluated, tmp_path, monkeypatch):
  config = make_config()
  config.eval.path = 'nowhere.bin'
  outdir = tmp_path / 'out'
  with pytest.raises(ValueError, match='no verification file nowhere'):
    run_main(
      monkeypatch,
      model=str(evaluated[2] / 'program.safetensors'),
      config=config,
      out=str(outdir),
    )
  with pytest.raises(ValueError, match='no verification file nowhere'):
    networks.evaluate_network(evaluated[0], outdir, config)
  assert not outdir.exists()
