import dataclasses
import json
import pickle

import numpy as np
import pytest
import safetensors.numpy
from benchmark_files import make_calfw, make_ijb
from pictures import filled
from template_sets import embed_pixels

from configs import mbv2_int8
from faceqat.evaluation.sets import evaluate_sets, open_sets
from faceqat.evaluators import scores, verification
from faceqat.report import comparison

SIZE = 8


def _float(images):
  return embed_pixels(images) * np.float32(0.5)


# An integer precision that is not the float one.
_PREDICTS = {
  'float': _float,
  'integer': lambda images: embed_pixels(images) // 64,
}
_SIZES = {'float': 400, 'integer': 100}


@pytest.fixture
def config(tmp_path):
  """Of a .bin file, whose people are not known, and a list of pairs."""
  config = mbv2_int8.get_config('smoke')
  config.data.image_size = SIZE
  config.eval.stored_size = 0
  rng = np.random.default_rng(0)
  entries = [filled(value) for value in rng.integers(1, 256, 60)]
  path = tmp_path / 'drawn.bin'
  path.write_bytes(pickle.dumps((entries, [True, False] * 15)))
  config.eval.update(
    path=f'{path},{tmp_path / "images"}',
    pairs=str(make_calfw(tmp_path)),
    batch_size=8,
  )
  return config


def evaluate(config, outdir, trained=None, size=SIZE):
  outdir.mkdir(exist_ok=True)
  sets = open_sets(config, size, trained)
  return evaluate_sets(_PREDICTS, _SIZES, sets, config, outdir)


def test_each_set_of_pairs_has_a_table_and_a_folder(config, tmp_path, capsys):
  outdir = tmp_path / 'out'
  results = evaluate(config, outdir)
  assert list(results) == ['float', 'integer', 'integer_match']
  assert json.loads((outdir / 'results.json').read_text()) == results
  assert results['integer']['bytes'] == results['integer_match']['bytes'] == 100
  other = outdir / 'benchmarks' / 'CALFW'
  found = json.loads((other / 'results.json').read_text())
  assert 'rank1' not in found['float']
  for folder, name, rows in (
    (outdir, 'drawn', results),
    (other, 'CALFW', found),
  ):
    stored = scores.load(folder)
    assert stored.pairs == name
    assert (stored.people is not None) == (name == 'CALFW')
    assert list(stored.cosines) == ['float', 'integer']
    for precision, cosines in stored.cosines.items():
      for metric, value in verification.summarize(
        cosines, stored.same, stored.fold
      ):
        assert rows[precision][metric] == value, (precision, metric)
  assert 'low/accuracy' in found['integer']
  assert 'low/accuracy' not in results['integer']
  for folder in (outdir, other):
    for name in ('roc.png', 'pairs.png'):
      assert (folder / name).read_bytes().startswith(b'\x89PNG')
  printed = capsys.readouterr().out
  both = (results['float']['accuracy'] + found['float']['accuracy']) / 2
  lines = printed.splitlines()
  (start,) = (i for i, x in enumerate(lines) if x.startswith('accuracy %  '))
  titles, _, row = (line.split() for line in lines[start : start + 3])
  assert titles[2:] == ['drawn', 'CALFW', 'mean']
  assert (row[0], row[-1]) == ('float', f'{100 * both:.2f}')
  assert 'EER %' not in printed
  assert 'they need pairs that say who is shown' in printed
  assert 'In brackets: 95 % intervals over people' in printed


@pytest.mark.usefixtures('undrawn')
def test_a_set_of_one_fold_has_what_can_be_measured(config, tmp_path, capsys):
  outdir = tmp_path / 'out'
  outdir.mkdir()
  sets = open_sets(config, SIZE)
  first, second = sets.benchmarks
  single = dataclasses.replace(second, fold=np.zeros_like(second.fold))
  sets = sets._replace(benchmarks=[single, first])
  results = evaluate_sets(_PREDICTS, _SIZES, sets, config, outdir, full=True)
  for row in results.values():
    assert {'auc', 'eer', 'low/eer', 'bytes'} <= set(row)
    assert not {'accuracy', 'threshold', 'low/accuracy'} & set(row)
  printed = capsys.readouterr().out
  assert 'CALFW is one fold: there are no other pairs to choose' in printed
  # Of every figure, which the summary leaves out.
  assert 'EER %' in printed
  # The mean is of the sets that have an accuracy.
  rows = [line.split() for line in printed.splitlines()]
  ((_, _, accuracy, mean),) = (row for row in rows if row[:2] == ['float', '-'])
  assert accuracy == mean
  # What is written is read again.
  one, other = (
    comparison.read_evaluation(str(outdir), name)
    for name in ('float', 'integer')
  )
  assert 'accuracy %' not in comparison.compare_evaluations(one, [other]).titles


@pytest.mark.usefixtures('undrawn')
def test_people_are_identified_beside_the_first_pairs(config, tmp_path):
  outdir = tmp_path / 'out'
  config.eval.update(path=config.eval.path.split(',')[0], pairs='')
  results = evaluate(config, outdir, trained=config)
  assert 0 < results['float']['rank1'] <= 1
  assert results['float']['low/rank1'] <= results['float']['rank1']
  assert 'rank1' not in results['integer_match']
  path = outdir / 'identification.safetensors'
  stored = safetensors.numpy.load_file(path)
  kinds = ('cmc', 'fpir', 'tpir')
  assert set(stored) == {f'{kind}/{name}' for kind in kinds for name in _SIZES}
  # Rank-1 of all people in the gallery.
  assert stored['cmc/float'][0] == results['float']['rank1']
  # A later evaluation that identifies nobody leaves no curves of another one.
  config.eval.identification_images = 0
  evaluate(config, outdir, trained=config)
  assert not path.exists()


@pytest.mark.usefixtures('undrawn')
def test_templates_have_a_table_of_their_own(config, tmp_path, capsys):
  outdir = tmp_path / 'out'
  config.eval.path = ''
  config.eval.templates = str(make_ijb(tmp_path / 'ijb'))
  evaluate(config, outdir)
  found = json.loads((outdir / 'benchmarks/ijbc/results.json').read_text())
  assert list(found) == ['float', 'integer']
  assert set(found['float']) == {'auc', 'eer', 'bytes'}
  assert 'ijbc:\n' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'unknown_share': 1.0}, 'unknown_share is 1.0; it lies in'),
    ({'unknown_share': -0.5}, 'unknown_share is -0.5; it lies in'),
    ({'agreement_images': 0}, 'agreement_images is 0; it is 1 or more'),
    ({'identification_images': 1}, 'identification_images is 1; give 2'),
    ({'templates': 'nowhere'}, r'nowhere/meta has 0 lists \*_face_tid_mid'),
    ({'pairs': ''}, r'has no list in eval\.pairs, and no pairs can be drawn'),
    ({'pairs': 'a.txt,b.txt'}, r'names 1 folders .*, but eval\.pairs 2 lists'),
    ({'path': 'a/images,b.bin'}, 'does not exist|no image folder'),
    ({'path': 'same.bin', 'pairs': ''}, r'same\.bin has 15 pairs of the same'),
  ],
)
def test_sets_that_cannot_be_opened_are_named(
  change, message, config, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  content = [filled(9)] * 30, [True] * 15
  (tmp_path / 'same.bin').write_bytes(pickle.dumps(content))
  config.eval.update(change)
  with pytest.raises(ValueError, match=message):
    open_sets(config, SIZE, config)


def test_two_sets_of_one_name_are_refused(config):
  path = config.eval.path.split(',')[0]
  config.eval.path = f'{path},{path}'
  config.eval.pairs = ''
  with pytest.raises(ValueError, match='two sets of pairs called drawn'):
    open_sets(config, SIZE)
