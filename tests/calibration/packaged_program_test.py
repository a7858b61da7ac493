import hashlib
import json

import pytest

from faceqat.calibration import packaged_files, packaged_program


@pytest.fixture
def lowered(tmp_path, monkeypatch):
  """How often a program was made, whose digest ships."""
  times = []
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(
    packaged_program, '_lowered', lambda name: times.append(name) or b'program'
  )
  rates = tmp_path / 'rates.json'
  digest = hashlib.sha256(b'program').hexdigest()
  rates.write_text(json.dumps({'program': digest}))
  monkeypatch.setattr(packaged_files, 'rates_path_of', lambda name: rates)
  return times


def test_a_program_is_made_once(lowered, tmp_path):
  path = packaged_program.kept_file('net')
  assert path.read_bytes() == b'program'
  assert path.is_relative_to(tmp_path / 'cache' / 'faceqat')
  assert packaged_program.kept_file('net') == path
  assert lowered == ['net']


def test_a_file_of_other_contents_is_replaced(lowered):
  path = packaged_program.kept_file('net')
  path.write_bytes(b'another')
  assert packaged_program.kept_file('net').read_bytes() == b'program'
  assert len(lowered) == 2


def test_what_cannot_be_kept_is_not(lowered, tmp_path, monkeypatch):
  (tmp_path / 'cache').touch()
  assert packaged_program.kept_file('net') is None
  (tmp_path / 'cache').unlink()
  monkeypatch.setattr(packaged_program, '_lowered', lambda name: b'another')
  assert packaged_program.kept_file('net') is None
  assert not (tmp_path / 'cache').exists()
