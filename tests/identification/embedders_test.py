import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_programs import PROGRAM

from faceqat.calibration import packaged_network, packaged_program
from faceqat.calibration.lower import lower
from faceqat.evaluators import verification
from faceqat.evaluators.predict import make_predict
from faceqat.export.formats import FORMATS
from faceqat.identification import embedders
from faceqat.integer import program as integer_program
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.spec import FAKE_QUANT, FLOAT
from faceqat.training.checkpoint import load_network

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope='module')
def network(quantized_run):
  return load_network(str(quantized_run[0]))


@pytest.fixture(scope='module')
def exported(network, tmp_path_factory):
  """The folder of a network's exported files."""
  folder = tmp_path_factory.mktemp('exported')
  program = lower(network)
  for form in FORMATS.values():
    (folder / form.file).write_bytes(form.to_bytes(program))
  return folder


@pytest.fixture(scope='module')
def integer(quantized_run):
  return embedders.load(quantized_run[0])


def test_a_run_is_read_in_integers_unless_another_precision_is_asked(
  integer, network, quantized_run
):
  assert integer.precision == 'integer'
  assert integer.image_size == (32, 32)
  assert integer.network.step == network.step
  raw = np.asarray(make_evaluator(lower(network))(IMAGES))
  np.testing.assert_array_equal(integer.predict(IMAGES), raw)
  for precision, mode in (('float', FLOAT), ('fake_quant', FAKE_QUANT)):
    embedder = embedders.load(quantized_run[0], precision)
    assert embedder.precision == precision
    np.testing.assert_array_equal(
      embedder.predict(IMAGES),
      make_predict(network.model, network.variables, mode)(IMAGES),
    )


@pytest.mark.parametrize(
  'name',
  ['program.safetensors', 'model.tflite', 'model_int8.tflite', 'model.onnx'],
)
def test_every_file_is_the_network_that_the_run_is(name, exported, integer):
  embedder = embedders.load(exported / name)
  assert embedder.network is None
  assert embedder.image_size == integer.image_size
  assert embedder.fingerprint == integer.fingerprint
  np.testing.assert_array_equal(
    embedder.predict(IMAGES), integer.predict(IMAGES)
  )
  # So a gallery that one made is one for the other, in any size of batch.
  assert embedder.digest(3) == integer.digest(8)


def test_a_file_that_keeps_no_contract_answers_nearly_the_same(
  exported, integer
):
  embedder = embedders.load(exported / 'model_qdq.onnx')
  answers, expected = embedder.predict(IMAGES), integer.predict(IMAGES)
  cosines = verification.cosine(answers, np.asarray(expected))
  assert cosines.min() > 0.9


def test_another_network_has_another_digest(integer, exported, quantized_run):
  program = integer_program.load(exported / 'program.safetensors')
  last = program.operators[-1]
  changed = dataclasses.replace(last, bias=last.bias + 400)
  program = dataclasses.replace(
    program, operators=(*program.operators[:-1], changed)
  )
  path = exported / 'changed.safetensors'
  integer_program.save(program, path)
  digests = [embedders.load(path).digest(4), integer.digest(4)]
  digests += [
    embedders.load(quantized_run[0], precision).digest(4)
    for precision in ('float', 'fake_quant')
  ]
  best = embedders.load(quantized_run[0], 'float', step='best')
  digests.append(best.digest(4))
  steps = {best.network.step, integer.network.step}
  assert len(set(digests)) == 3 + len(steps)
  assert all(len(digest) == 64 for digest in digests)


def test_a_zero_point_is_taken_off(exported):
  program = integer_program.load(exported / 'program.safetensors')
  output = program.tensors[program.output]
  moved = dataclasses.replace(output, zero_point=-5)
  program = dataclasses.replace(
    program, tensors={**program.tensors, program.output: moved}
  )
  path = exported / 'moved.tflite'
  path.write_bytes(FORMATS['tflite'].to_bytes(program))
  raw = np.asarray(make_evaluator(program)(IMAGES)).astype(int)
  np.testing.assert_array_equal(embedders.load(path).predict(IMAGES), raw + 5)


def foreign_onnx(path):
  graph = helper.make_graph(
    [helper.make_node('Identity', ['x'], ['y'])],
    'foreign',
    [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['b', 4, 4, 3])],
    [helper.make_tensor_value_info('y', TensorProto.FLOAT, ['b', 4, 4, 3])],
  )
  opset = [helper.make_opsetid('', 17)]
  onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def exported_folder(path):
  path.mkdir()
  for name in ('exactness.json', 'model.tflite'):
    (path / name).touch()


@pytest.mark.parametrize(
  ('name', 'write', 'message'),
  [
    ('absent', lambda p: None, 'does not exist; give the folder of a train'),
    ('empty', lambda p: p.mkdir(), 'no checkpoints; give .* or sface_int8'),
    ('export', exported_folder, 'give one of its files: .*export/model.tflite'),
    ('net.pth', lambda p: p.write_bytes(b''), 'does not end in one of .safet'),
    ('net.tflite', lambda p: p.write_bytes(b'x'), 'LiteRT does not take'),
    ('net.onnx', lambda p: p.write_bytes(b'x'), 'Runtime .* does not take'),
    ('net.onnx', foreign_onnx, 'was not written by faceqat.convert'),
    ('net.safetensors', lambda p: p.write_bytes(b'x'), 'no faceqat program'),
  ],
)
def test_what_is_no_network_is_refused_by_name(name, write, message, tmp_path):
  path = tmp_path / name
  write(path)
  with pytest.raises(ValueError, match=message) as caught:
    embedders.load(path)
  assert str(path) in str(caught.value)


@pytest.mark.parametrize('name', ['model.tflite', 'model.onnx'])
def test_an_exported_file_is_compared_with_its_digest(name, exported, tmp_path):
  assert embedders.load(exported / name).checked
  content = (exported / name).read_bytes()
  path = tmp_path / name
  # One bit of a weight, which no runtime can see.
  middle = len(content) // 2
  damaged = bytes([content[middle] ^ 1])
  path.write_bytes(content[:middle] + damaged + content[middle + 1 :])
  with pytest.raises(ValueError, match=f'{path}: its SHA-256 does not match'):
    embedders.load(path)
  # As files were written before they had digests.
  path.write_bytes(content.replace(b'-sha256:', b'-unknown'))
  embedder = embedders.load(path)
  assert not embedder.checked
  assert embedder.digest(4) == embedders.load(exported / name).digest(4)


def test_a_packaged_network_goes_by_its_name():
  embedder = embedders.load('sface_int8')
  assert embedder.image_size == (112, 112)
  assert embedder.precision == 'integer'
  assert embedder.fingerprint.template == 'arcface'


def test_precisions_that_do_not_exist_are_refused(exported, float_run):
  with pytest.raises(ValueError, match="'int8'; choose from float, fake_quant"):
    embedders.load(float_run, 'int8')
  with pytest.raises(
    ValueError, match=r"holds integers alone, and not 'float'"
  ):
    embedders.load(exported / 'model.onnx', 'float')
  for precision in ('integer', 'fake_quant'):
    with pytest.raises(ValueError, match='no activation'):
      embedders.load(float_run, precision)
  assert embedders.load(float_run, 'float').image_size == (32, 32)


def test_a_packaged_network_starts_as_the_program_that_is_kept(
  tmp_path, monkeypatch
):
  path = tmp_path / 'program.safetensors'
  integer_program.save(PROGRAM, path)
  lowered = []
  monkeypatch.setattr(packaged_program, 'kept_file', lambda name: path)
  monkeypatch.setattr(packaged_network, 'load_packaged', lowered.append)
  monkeypatch.setattr(embedders, 'of_network', lambda *_: None)
  kept = embedders.load('sface_int8')
  assert kept.digest(1) == embedders.load(path).digest(1)
  assert not lowered
  for settings in ({'precision': 'float'}, {'contract': 'xnnpack'}):
    embedders.load('sface_int8', **settings)
  assert lowered == 2 * ['sface_int8']


def test_a_contract_that_does_not_exist_is_refused_by_name(float_run):
  for path in (float_run, 'sface_int8'):
    with pytest.raises(ValueError, match="'zz'; choose from tflite_ref, xnnp"):
      embedders.load(path, contract='zz')
