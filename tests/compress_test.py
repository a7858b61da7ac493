"""One command from a float network to runs of given bytes."""

import json
import re
import types

import numpy as np
import pytest
from PIL import Image
from tiny_run import make_config

from configs import losses
from faceqat import compress
from faceqat.training.checkpoint import latest_config


@pytest.fixture
def start(monkeypatch, float_run, tmp_path):
  """A function that compresses a tiny network; returns the folder."""

  def start(*budgets, **changes):
    config = make_config(pretrained=str(float_run), total_steps=0)
    config.loss = losses.distillation()
    config.quant.update(start_step=0, freeze_bn_step=0, reconstruction_steps=2)
    config.quant.default.learned_steps = True
    config.update_from_flattened_dict(changes)
    flags = types.SimpleNamespace(
      config=config, workdir=str(tmp_path), budgets=budgets, num_images=4
    )
    monkeypatch.setattr(compress, 'flags', types.SimpleNamespace(FLAGS=flags))
    compress.main()
    return tmp_path

  return start


def size(run):
  return (run / 'program.safetensors').stat().st_size


def bits_of(run):
  """By layer, of its weights, as the run has been trained."""
  config, _ = latest_config(str(run))
  return {
    name: override.get('weight_bits', 8)
    for name, override in config.quant.overrides.items()
  }


@pytest.mark.usefixtures('undrawn')
def test_each_budget_is_a_run_that_fits_it(start, capsys):
  folder = start('1900', '2100', **{'total_steps': 2, 'log_steps': 1})
  printed = capsys.readouterr().out
  whole, larger, smaller = (folder / n for n in ('calibrated', '2100', '1900'))
  assert size(whole) > 2100 >= size(larger) > 1900 >= size(smaller)
  assert set(bits_of(whole).values()) == {8}
  assert 2 <= min(bits_of(smaller).values()) < 8
  # The calibrated network is not trained, the others are, with learned steps.
  assert [run.name for run in (whole, larger, smaller) if steps_of(run)] == [
    '2100',
    '1900',
  ]
  assert not re.search('over its budget', printed)
  for run in (whole, larger, smaller):
    assert re.search(rf'{run} +integer .* {size(run):,}\n', printed)
    assert json.loads((run / 'results.json').read_text())['integer'][
      'bytes'
    ] == size(run)
  assert (folder / 'frontier.png').stat().st_size > 10_000


def steps_of(run):
  _, step = latest_config(str(run))
  return step


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
  with pytest.raises(ValueError, match=r'has 1,000 bytes: .* or more'):
    start('2100', '1000', **{'total_steps': 2})
  assert sorted(path.name for path in tmp_path.iterdir()) == ['calibrated']


@pytest.mark.parametrize(
  ('budgets', 'changes', 'message'),
  [
    (['2e3'], {}, "--budgets has '2e3'; give numbers of bytes"),
    (['0'], {}, "--budgets has '0'"),
    (['2000'], {'pretrained': ''}, 'pretrained is empty; give the network'),
    (['2000'], {'quant.enabled': False}, 'quant.enabled is False'),
  ],
)
def test_wrong_input_is_refused_before_anything_is_written(
  budgets, changes, message, start, tmp_path
):
  with pytest.raises(ValueError, match=message):
    start(*budgets, **changes)
  assert not [*tmp_path.iterdir()]
