import dataclasses
import sys

import numpy as np
import pytest
from small_programs import (
  PROGRAM,
  network_images,
  record_network,
  small_program,
)

from faceqat.data.benchmarks.pairs import PairSet
from faceqat.export import targets, tflite
from faceqat.export.targets import litert, roundtrip, target
from faceqat.integer.program import CONTRACTS

IMAGES = network_images(4)


def export(name, program, folder, images=IMAGES):
  return roundtrip.export({name: program}, None, folder, images)[name]


@pytest.mark.parametrize('name', targets.NAMES)
def test_a_target_says_what_it_promises_and_where_it_runs(name):
  found = targets.find(name)
  assert found.promise[0].islower() or found.promise[0].isdigit()
  assert set(found.contracts) <= set(CONTRACTS)
  assert bool(found.run) != bool(found.not_run)
  # Else a broken contract could not be explained.
  assert bool(found.contracts and found.run) == bool(found.run_taps)


EXACT = [
  (name, contract)
  for name in targets.NAMES
  for contract in targets.find(name).contracts
  # It refuses the network with every operator.
  if targets.find(name).run and name != 'mediapipe'
]


@pytest.mark.parametrize(('name', 'contract'), EXACT)
def test_every_operator_gives_the_bits_of_the_contract(
  name, contract, tmp_path, monkeypatch
):
  program = dataclasses.replace(record_network(), contract=contract)
  if name == 'tflm':
    with pytest.raises(ValueError, match=r"--target=tflm: .*'gate' \(Logistic"):
      export(name, program, tmp_path)
    # It computes no other one of these otherwise.
    monkeypatch.setattr(targets.tflm.tflm_rules, 'check_program', id)
  result = export(name, program, tmp_path)
  if result.not_run:
    pytest.skip(result.not_run)
  assert (result.contract, result.nearness.differing) == (contract, 0)
  assert result.nearness.outputs == len(IMAGES) * 16
  for file, size in result.files.items():
    assert (tmp_path / name / file).stat().st_size == size
  taps = targets.find(name).run_taps(program)(IMAGES)
  assert set(taps) >= {operator.output for operator in program.operators}


def test_mediapipe_gives_the_bits_or_names_what_it_computes_otherwise(tmp_path):
  with pytest.raises(ValueError, match=r"'concat/requantize_0' .*MediaPipe"):
    export('mediapipe', record_network(), tmp_path)
  program = dataclasses.replace(PROGRAM, contract='xnnpack')
  images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
  result = export('mediapipe', program, tmp_path, images)
  if result.not_run:
    pytest.skip(result.not_run)
  assert (result.nearness.outputs, result.nearness.differing) == (3 * 64, 0)


def test_litert_js_names_what_is_missing(tmp_path, monkeypatch):
  program = dataclasses.replace(PROGRAM, contract='xnnpack')
  monkeypatch.delenv('NODE_PATH', raising=False)
  monkeypatch.chdir(tmp_path)
  result = export('litert-js', program, tmp_path, IMAGES[:, :4, :4])
  assert 'node' in result.not_run
  monkeypatch.setenv('PATH', '')
  result = export('litert-js', program, tmp_path, IMAGES[:, :4, :4])
  assert 'Node.js here, which is not installed' in result.not_run


def test_an_unknown_target_is_answered_with_all():
  with pytest.raises(
    ValueError, match=r'--target=caffe: .*litert, onnxruntime'
  ):
    targets.find('caffe')


def test_a_contract_is_the_targets_own_or_one_that_it_keeps():
  found = targets.find('litert')
  assert target.choose_contract('litert', found, None) == 'xnnpack'
  assert target.choose_contract('litert', found, 'tflite_ref') == 'tflite_ref'
  with pytest.raises(ValueError, match='bits of tflite_ref, not those of xnn'):
    target.choose_contract('tflm', targets.find('tflm'), 'xnnpack')


def test_what_one_target_refuses_is_written_for_none(tmp_path):
  programs = {
    'litert': small_program(contract='xnnpack'),
    'onnxruntime': small_program(contract='xnnpack'),
  }
  with pytest.raises(ValueError, match=r"--target=onnxruntime: .*'xnnpack'"):
    roundtrip.export(programs, None, tmp_path, IMAGES[:, :2, :2])
  assert not list(tmp_path.iterdir())


def test_a_runtime_that_is_missing_is_named_with_its_extra(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'tflite_micro', None)
  result = export('tflm', small_program(), tmp_path, IMAGES[:, :2, :2])
  assert 'pip install faceqat[tflm], or in a checkout ' in result.not_run
  assert 'pip install -r requirements-tflm.txt' in result.not_run
  assert (tmp_path / 'tflm' / 'model.tflite').exists()
  table, *_ = roundtrip.tables({'tflm': result})
  assert table.rows[0][3:] == ['-'] * 6
  assert table.notes == [f'tflm: not run: {result.not_run}']


def test_what_a_compiler_made_of_another_network_does_not_stay(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('VELA', str(tmp_path / 'none'))
  compiled = tmp_path / 'ethos-u' / 'model_ethos-u55-128.tflite'
  compiled.parent.mkdir()
  compiled.write_bytes(b'another network')
  mine = compiled.with_name('mine.txt')
  mine.touch()
  result = export('ethos-u', small_program(), tmp_path, IMAGES[:, :2, :2])
  assert result.not_run
  assert not compiled.exists()
  assert mine.exists()


def test_a_broken_contract_is_explained(tmp_path, monkeypatch, capsys):
  right = tflite.to_bytes

  def wrong(program, **options):
    *others, dense = program.operators
    dense = dataclasses.replace(dense, bias=dense.bias + 500)
    changed = dataclasses.replace(program, operators=(*others, dense))
    return right(changed, **options)

  monkeypatch.setattr(litert.tflite, 'to_bytes', wrong)
  program = small_program(contract='xnnpack')
  result = export('litert', program, tmp_path, IMAGES[:, :2, :2])
  monkeypatch.undo()
  assert result.broken
  assert result.nearness.largest > 0
  report = roundtrip.report_path(tmp_path, 'litert').read_text()
  assert report.startswith('first difference: layer embedding (Dense)')
  assert 'first difference: layer embedding' in capsys.readouterr().out


def test_real_embeddings_are_compared_in_steps_and_by_cosine():
  embedding = small_program().tensors['embedding']
  expected = np.array([[13, 3, 3], [3, 13, 3]], np.int8)
  real = (expected.astype(np.float32) - embedding.zero_point) * embedding.scale
  real[1, 0] = 10 * embedding.scale
  near = roundtrip._compare(embedding, expected, real)
  assert near.differing is None
  assert near.largest == pytest.approx(10)
  assert near.least_cosine == pytest.approx(0.5**0.5)
  assert near.cosine == pytest.approx((1 + 0.5**0.5) / 2)


def test_what_a_target_costs_is_measured_where_its_bits_differ(
  tmp_path, monkeypatch
):
  """Of a file that gives all faces one embedding: half of the pairs."""
  program = small_program()
  exact = targets.find('onnxruntime')
  blind = dataclasses.replace(
    exact,
    contracts=(),
    run_taps=None,
    run=lambda *_: lambda images: np.ones((len(images), 5), np.float32),
  )
  find = {'onnxruntime': exact, 'blind': blind}.__getitem__
  monkeypatch.setattr(roundtrip, 'find', find)
  # Two of one person are one picture, so that the program is mostly right.
  pictures = np.random.default_rng(0).integers(0, 256, (40, 2, 2, 3), np.uint8)
  first, number = np.arange(40), np.arange(40) % 2
  pairs = PairSet(
    'drawn', pictures, first, (first + number) % 40, number == 0, first // 4
  )
  programs = dict.fromkeys(['onnxruntime', 'blind'], program)
  results = roundtrip.export(programs, None, tmp_path, pictures[:2], pairs)
  whole, other = results.values()
  assert whole.accuracy > 0.9
  assert (whole.cost, other.accuracy) == (0, 0.5)
  assert other.cost == whole.accuracy - 0.5
  table, *_ = roundtrip.tables(results)
  assert table.rows[1][-2:] == ['50.00', f'+{100 * other.cost:.2f}']
  assert table.notes[-1].startswith('accuracy: on 40 pairs (drawn); ')
