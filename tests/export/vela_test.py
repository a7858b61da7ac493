import sys

import pytest
from small_programs import record_network

from faceqat.export import targets, tflite, tflite_builder, vela
from faceqat.export.targets import roundtrip
from faceqat.export.tflite_builder import schema

PROGRAM = record_network(weight_bits=4)


def kinds(content: bytes) -> set[int]:
  graph = schema.Model.GetRootAs(content).Subgraphs(0)
  return {graph.Tensors(i).Type() for i in range(graph.TensorsLength())}


@pytest.fixture
def _vela():
  try:
    vela.find_program()
  except ImportError as error:
    pytest.skip(str(error))


def test_no_weights_are_packed_for_ethos_u():
  """A packed weight ends Vela 5.2 with a signal."""
  content = targets.find('ethos-u').write(PROGRAM, None)['model.tflite']
  types = schema.TensorType
  assert kinds(content) == {types.UINT8, types.INT8, types.INT32}
  assert types.INT4 in kinds(tflite.to_bytes(PROGRAM))
  assert tflite_builder.read_metadata(content)['contract'] == 'tflite_ref'


@pytest.mark.usefixtures('_vela')
def test_each_chip_has_a_file_and_what_stays_on_the_cpu(tmp_path):
  result = roundtrip.export({'ethos-u': PROGRAM}, None, tmp_path, None)
  rows = {row['chip']: row for row in result['ethos-u'].figures}
  assert list(rows) == [
    *('ethos-u55-128', 'ethos-u55-256', 'ethos-u65-256', 'ethos-u85-256')
  ]
  # U85 gathers itself, and needs no index in 32 bits.
  left = {chip: row['on the CPU'] for chip, row in rows.items()}
  assert left.pop('ethos-u85-256') == 'L2_NORMALIZATION'
  assert set(left.values()) == {'CAST, GATHER, L2_NORMALIZATION'}
  for chip, row in rows.items():
    assert row['cycles'] > 0
    # The weights lie in flash, or beside the activations.
    assert row['SRAM'] > 0
    assert row['flash'] + row['DRAM'] > 1000
    content = (tmp_path / 'ethos-u' / f'model_{chip}.tflite').read_bytes()
    assert 'ethos-u' in tflite_builder.read_operators(content)


@pytest.mark.usefixtures('_vela')
def test_a_file_that_vela_refuses_is_named(tmp_path):
  path = tmp_path / 'packed.tflite'
  path.write_bytes(tflite.to_bytes(PROGRAM))
  with pytest.raises(ValueError, match=r'not compile packed\.tflite.*SIGFPE'):
    vela.compile_file(path, 'ethos-u55-128')


def test_a_vela_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
  monkeypatch.setenv('PATH', str(tmp_path))
  monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
  monkeypatch.delenv(vela.VARIABLE, raising=False)
  result = roundtrip.export({'ethos-u': PROGRAM}, None, tmp_path, None)
  assert 'pip install faceqat[ethos-u]' in result['ethos-u'].not_run
  assert (tmp_path / 'ethos-u' / 'model.tflite').exists()
  monkeypatch.setenv(vela.VARIABLE, 'nowhere/vela')
  with pytest.raises(ImportError, match='VELA=nowhere/vela is no program'):
    vela.find_program()
