import contextlib
import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from jaxpr_walk import forbidden_types
from tiny_run import leaves, make_config

from faceqat.data import datasets
from faceqat.evaluation import networks
from faceqat.evaluators import identification_rates, verification
from faceqat.evaluators.predict import make_integer_predict, make_predict
from faceqat.integer import matching
from faceqat.integer import program as integer_program
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.spec import FLOAT
from faceqat.report import hardest
from faceqat.training.checkpoint import load_network
from faceqat.training.loop import train


def test_three_arithmetics_and_two_matchings_stand_in_one_table(evaluated):
  _, results, outdir = evaluated
  assert list(results) == ['float', 'fake_quant', 'integer', 'integer_match']
  for values in results.values():
    assert 0 <= values['accuracy'] <= 1
    assert 0 <= values['auc'] <= 1
  assert json.loads((outdir / 'results.json').read_text()) == results
  # Four bytes a weight against one, and what describes the layers.
  assert results['float']['bytes'] == results['fake_quant']['bytes']
  assert (
    results['integer']['bytes']
    == (outdir / 'program.safetensors').stat().st_size
  )
  assert not [path for path in outdir.iterdir() if path.name.startswith('.')]
  for name, values in results.items():
    # Compared with float, and embeddings not compared anew in integers.
    assert ('cosine_mean' in values) == (name in ('fake_quant', 'integer'))
    assert ('rank1' in values) == (name != 'integer_match')
  for name in ('roc.png', 'pairs.png'):
    assert (outdir / name).read_bytes().startswith(b'\x89PNG')
  table = (outdir / 'agreement.txt').read_text()
  assert 'block/add' in table
  assert '<- worst' in table
  layers = json.loads((outdir / 'agreement.json').read_text())['layers']
  assert 'block/add' in [layer['name'] for layer in layers]
  found = hardest.load(outdir)
  assert found.precision == 'integer'
  assert 0 < len(found.pair) <= 12


def test_the_float_file_has_the_float_network(evaluated):
  network, _, outdir = evaluated
  stored = safetensors.numpy.load_file(outdir / 'float.safetensors')
  variables = {
    name: leaf
    for name, leaf in leaves(network.variables).items()
    if not name.startswith('quant_stats')
  }
  assert stored.keys() == variables.keys()
  for name, leaf in variables.items():
    np.testing.assert_array_equal(stored[name], leaf)


def test_nearness_to_float_is_that_of_each_image(evaluated):
  network, results, outdir = evaluated
  pair_set = datasets.make_evaluation_pairs(
    network.config.eval, image_size=network.config.data.image_size
  )
  program = integer_program.load(outdir / 'program.safetensors')
  embeddings = [
    verification.embed(predict, list(pair_set.images), 8)
    for predict in (
      make_predict(network.model, network.variables, FLOAT),
      make_integer_predict(program),
    )
  ]
  cosines = verification.cosine(*embeddings)
  row = results['integer']
  # Float sums may depend on the batch size by some 1e-7.
  assert row['cosine_mean'] == pytest.approx(cosines.mean(), abs=1e-5)
  assert row['cosine_p1'] == pytest.approx(np.percentile(cosines, 1), abs=1e-5)
  assert row['cosine_p1'] < row['cosine_mean'] < 1


def test_people_never_trained_on_are_identified(evaluated):
  network, results, outdir = evaluated
  config = network.config
  program = integer_program.load(outdir / 'program.safetensors')
  # All four images of each of twenty people, ten of them unknown.
  found = identification_rates.search_people(
    make_integer_predict(program),
    datasets.make_held_out_people(config.data),
    images_per_person=config.eval.identification_images,
    unknown_share=config.eval.unknown_share,
    seed=config.eval.identification_seed,
    batch_size=16,
  )
  assert found.open_set.mated.sum() == 30
  assert (~found.open_set.mated).sum() == 40
  figures = dict(identification_rates.summarize(found))
  for name, value in figures.items():
    assert results['integer'][name] == value
  stored = safetensors.numpy.load_file(outdir / 'identification.safetensors')
  curve = identification_rates.cmc(found)
  np.testing.assert_array_equal(stored['cmc/integer'], curve)
  assert curve[0] == figures['rank1']


@pytest.mark.usefixtures('undrawn')
def test_a_run_whose_training_set_is_elsewhere_is_evaluated(
  float_run, tmp_path, capsys
):
  network = load_network(float_run)
  network.config.data.path = 'nowhere'
  results = networks.evaluate_network(network, tmp_path)
  assert 'rank1' not in results['float']
  assert 'without rank-1: There is no image folder nowhere' in (
    capsys.readouterr().out
  )


@pytest.mark.usefixtures('undrawn')
def test_the_saved_program_evaluates_as_it_did_in_the_table(
  evaluated, tmp_path
):
  _, results, outdir = evaluated
  path = outdir / 'program.safetensors'
  # Another batch size: integers do not depend on it.
  config = make_config()
  config.eval.batch_size = 7
  alone = networks.evaluate_program(str(path), config, str(tmp_path / 'new'))
  # A program says neither what float gives nor on whom it was trained.
  beyond = ('rank1', 'rank5', 'difference', 'cosine_mean', 'cosine_p1')
  assert alone == {
    name: {
      k: v for k, v in results[name].items() if k.split('/')[-1] not in beyond
    }
    for name in ('integer', 'integer_match')
  }
  written = json.loads((tmp_path / 'new' / 'results.json').read_text())
  assert written == alone


@pytest.mark.usefixtures('undrawn')
def test_the_pairs_can_be_those_of_another_config(evaluated, tmp_path):
  network, results, _ = evaluated
  config = make_config()
  config.eval.update(num_people=30, num_pairs=60)
  other = networks.evaluate_network(network, str(tmp_path), config)
  assert other['float'] != results['float']
  assert other['float']['bytes'] == results['float']['bytes']


@pytest.mark.parametrize('zero_point', [None, -5])
def test_integer_embeddings_are_centred_on_the_zero_point(
  zero_point, evaluated
):
  _, _, outdir = evaluated
  program = integer_program.load(outdir / 'program.safetensors')
  output = program.tensors[program.output]
  if zero_point is not None:
    moved = dataclasses.replace(output, zero_point=zero_point)
    program = dataclasses.replace(
      program, tensors={**program.tensors, program.output: moved}
    )
    output = moved
  images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  predict = make_integer_predict(program)
  embeddings = np.asarray(predict(images))
  raw = np.asarray(make_evaluator(program)(images))
  assert raw.shape == (2, 16)
  np.testing.assert_array_equal(embeddings, raw.astype(int) - output.zero_point)
  # No float, no 64 bits.
  assert forbidden_types(predict.__wrapped__, images) == set()


def test_matching_in_integers_decides_as_a_float_cosine_does(evaluated):
  _, results, _ = evaluated
  integer, match = dict(results['integer']), dict(results['integer_match'])
  for name in [name for name in integer if 'rank' in name or 'cosine' in name]:
    integer.pop(name)
  threshold = match.pop('threshold_q29')
  assert isinstance(threshold, int)
  # The mean over the folds, as the nearest integer.
  assert threshold / matching.ONE == pytest.approx(
    match['threshold'], abs=1 / matching.ONE
  )
  assert match.keys() == integer.keys()
  # Scores differ by less than one step, which could only part a near tie, and
  # 60 pairs are too few for more than one.
  for name, value in integer.items():
    assert match[name] == pytest.approx(value, abs=1 / 60), name
  assert match['threshold'] == pytest.approx(integer['threshold'], abs=1e-6)


@pytest.mark.usefixtures('undrawn')
def test_without_ranges_only_float_is_evaluated(float_run, tmp_path, capsys):
  results = networks.evaluate_network(load_network(float_run), tmp_path)
  assert list(results) == ['float']
  printed = capsys.readouterr().out
  assert 'only float can be evaluated: layer stem has no activation' in printed
  assert not (tmp_path / 'program.safetensors').exists()


@pytest.fixture(scope='module')
def grouped(tmp_path_factory):
  """A network with group norms, trained; its evaluation; what it printed."""
  config = make_config(total_steps=1)
  config.model.norm = {'name': 'group', 'groups': 4, 'epsilon': 1e-5}
  config.quant.enabled = False
  config.eval.identification_images = 0
  workdir = tmp_path_factory.mktemp('grouped_run')
  train(config, str(workdir), jax.devices()[:1])
  network = load_network(str(workdir))
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    results = networks.evaluate_network(network, tmp_path_factory.mktemp('gn'))
  return network, results, printed.getvalue().splitlines()


def test_a_network_with_group_norms_is_evaluated_in_float_and_says_why(
  grouped, tmp_path
):
  network, results, printed = grouped
  assert list(results) == ['float']
  (why,) = [line for line in printed if line.startswith('only float')]
  assert 'layer stem has a group norm, which has no integer form' in why
  with pytest.raises(ValueError, match='of integer there is none: layer stem'):
    networks.evaluate_network(network, tmp_path, precisions=['integer'])


def test_the_size_of_the_network_stands_above_the_table(grouped):
  _, _, printed = grouped
  # Kernels of 3x3x3x8, 8x16, 3x3x16, 16x8 and 8x16, and the scales and biases
  # of their norms; all but the last kernel at 16x16 positions.
  at = printed.index('872 parameters')
  assert printed[at + 1] == '157,824 multiply-adds an image'
  assert any('accuracy %' in line for line in printed[at + 2 :])


@pytest.mark.parametrize(
  ('precisions', 'message'),
  [
    (
      ['int8'],
      'precisions are int8; choose some of float, fake_quant, integer',
    ),
    ([], 'precisions are none; choose'),
    (['integer'], 'of integer there is none: layer stem has no activation'),
  ],
)
def test_precisions_that_do_not_exist_are_refused(
  precisions, message, float_run, tmp_path
):
  network = load_network(float_run)
  with pytest.raises(ValueError, match=message):
    networks.evaluate_network(network, tmp_path, precisions=precisions)


def test_curves_are_drawn_in_the_folder_of_a_run(
  quantized_run, tmp_path, capsys
):
  workdir, _ = quantized_run
  shutil.copy(workdir / 'metrics.jsonl', tmp_path)
  networks.evaluate_network(load_network(str(workdir)), tmp_path)
  assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')


def test_a_gallery_without_probes_leaves_nothing(evaluated, tmp_path):
  config = make_config()
  config.eval.identification_images = 1
  with pytest.raises(ValueError, match='identification_images is 1; give 2'):
    networks.evaluate_network(evaluated[0], tmp_path / 'out', config)
  assert not (tmp_path / 'out').exists()


def test_templates_for_faces_of_another_kind_are_refused(evaluated, tmp_path):
  network, config = evaluated[0], make_config()
  trained = network.config.copy_and_resolve_references()
  trained.fingerprint.template = 'margin_32'
  config.eval.templates = 'IJBC'
  message = "to 'arcface' or 'sphereface', the network is for 'margin_32'"
  with pytest.raises(ValueError, match=message):
    networks.evaluate_network(
      network._replace(config=trained), tmp_path, config
    )
