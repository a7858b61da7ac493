"""One command from a float network to runs of given bytes."""

import json
import re
import signal
import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from tiny_run import make_config

from configs import losses
from faceqat import compress
from faceqat.calibration.lower import weighted_operators
from faceqat.evaluation import compression
from faceqat.integer import program as integer_program
from faceqat.training.checkpoint import latest_config, load_network


def config_of(run, **changes):
  """As the flag --config gives it: locked."""
  config = make_config(pretrained=str(run), total_steps=0)
  config.loss = losses.distillation()
  config.quant.update(start_step=0, freeze_bn_step=0, reconstruction_steps=2)
  config.quant.default.learned_steps = True
  config.update_from_flattened_dict(changes)
  return config.lock()


@pytest.fixture
def start(monkeypatch, float_run, tmp_path):
  """A function that runs the command; returns the folder of the runs."""

  def start(*budgets, num_images=4, **changes):
    flags = types.SimpleNamespace(
      config=config_of(float_run, **changes),
      workdir=str(tmp_path / 'runs'),
      budgets=list(budgets),
      num_images=num_images,
    )
    monkeypatch.setattr(compress, 'flags', types.SimpleNamespace(FLAGS=flags))
    compress.main()
    return tmp_path / 'runs'

  return start


def size(run):
  return (run / 'program.safetensors').stat().st_size


def bits_of(run):
  program = integer_program.load(run / 'program.safetensors')
  return {o.name: o.weight_bits for o in weighted_operators(program)}


@pytest.mark.usefixtures('undrawn')
def test_each_budget_is_a_run_that_fits_it(start, capsys):
  folder = start('2100', '1900', total_steps=2, log_steps=1)
  printed = capsys.readouterr().out
  whole, larger, smaller = (folder / n for n in ('calibrated', '2100', '1900'))
  assert size(whole) > 2100 >= size(larger) > 1900 >= size(smaller)
  assert set(bits_of(whole).values()) == {8}
  assert min(bits_of(smaller).values()) < 8
  for run, steps in ((whole, 0), (larger, 2), (smaller, 2)):
    network = load_network(str(run))
    assert network.step == steps
    # Those of a layer whose bits did not change too.
    for name in bits_of(run):
      layer = network.model.quant.layer(name)
      assert layer.learned_steps == bool(steps), name
      assert layer.symmetric == (name == 'embedding')
    assert re.search(rf'{run} +integer .* {size(run):,}\n', printed)
    results = json.loads((run / 'results.json').read_text())
    assert results['integer']['bytes'] == size(run)
  assert 'over its budget' not in printed
  assert (folder / 'frontier.png').stat().st_size > 10_000


@pytest.mark.usefixtures('undrawn')
def test_a_run_that_has_begun_keeps_its_bits(start):
  folder = start('2000', num_images=2)
  before = latest_config(folder / '2000')[0].quant.overrides
  start('2000', '1900', num_images=12)
  assert latest_config(folder / '2000')[0].quant.overrides == before
  assert size(folder / '1900') <= 1900


@pytest.mark.usefixtures('undrawn')
def test_faces_in_one_folder_without_names_are_enough(start, tmp_path):
  faces = tmp_path / 'faces' / 'anyone'
  faces.mkdir(parents=True)
  rng = np.random.default_rng(0)
  for number in range(24):
    pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(faces / f'{number}.png')
  folder = start(
    '2100',
    **{
      'data.path': str(faces.parent),
      'data.validation_people': 0,
      'data.holdout_images_per_person': 0,
    },
  )
  assert size(folder / '2100') <= 2100


@pytest.mark.usefixtures('undrawn')
def test_a_budget_that_no_bits_fit_shows_before_any_training(start, tmp_path):
  message = r'has 1,000 bytes and 1% of them to spare: .*; give [\d,]+ or more'
  with pytest.raises(ValueError, match=message):
    start('2100', '1000', total_steps=2)
  runs = [path.name for path in (tmp_path / 'runs').iterdir()]
  assert runs == ['calibrated']


@pytest.mark.parametrize(
  ('budgets', 'changes', 'message'),
  [
    ([], {}, "--budgets has ''; give numbers of bytes"),
    (['2000', '2e3'], {}, "--budgets has '2e3'"),
    (['0'], {}, "--budgets has '0'"),
    (['2000'], {'pretrained': ''}, 'pretrained is empty; give the network'),
    (['2000'], {'quant.enabled': False}, 'quant.enabled is False'),
    (['2000'], {'eval.path': 'nowhere'}, 'nowhere'),
  ],
)
def test_wrong_input_is_refused_before_anything_is_written(
  budgets, changes, message, start, tmp_path
):
  with pytest.raises(ValueError, match=message):
    start(*budgets, **changes)
  assert not (tmp_path / 'runs').exists()


def test_pairs_without_folds_are_refused_before_anything_is_written(
  start, monkeypatch, tmp_path
):
  one = np.zeros(40, np.int32)
  open_sets = compression.open_sets

  def opened(*arguments):
    sets = open_sets(*arguments)
    pairs = sets.benchmarks[0]
    changed = types.SimpleNamespace(name=pairs.name, fold=one)
    return sets._replace(benchmarks=[changed])

  monkeypatch.setattr(compression, 'open_sets', opened)
  with pytest.raises(ValueError, match='of drawn are of one fold'):
    start('2000')
  assert not (tmp_path / 'runs').exists()


def test_the_calibration_has_no_stages_and_the_config_stays(float_run):
  config = config_of(float_run, total_steps=5)
  with config.unlocked():
    config.stages = ConfigDict({'first': {'steps': 5}})
  calibration = compression._calibration_of(config)
  assert calibration.total_steps == 0
  assert not calibration.stages
  assert not calibration.quant.default.learned_steps
  assert (config.total_steps, len(config.stages)) == (5, 1)
  assert config.quant.default.learned_steps


def test_a_stopped_training_exits_as_its_signal_says(start, monkeypatch):
  monkeypatch.setattr(compression, 'train', lambda *_: signal.SIGTERM)
  with pytest.raises(SystemExit) as raised:
    start('2000')
  assert raised.value.code == 128 + signal.SIGTERM


def test_a_file_over_its_budget_is_named_with_a_remedy(
  start, evaluated, monkeypatch, capsys
):
  _, _, run = evaluated
  monkeypatch.setattr(compression, 'compress', lambda *_, **__: [run, run])
  start(str(size(run) - 7))
  assert re.search(
    rf'warning: {run} has .* bytes, 7 over its budget; for fewer, give '
    rf'--budgets={size(run) - 14}\n',
    capsys.readouterr().out,
  )
