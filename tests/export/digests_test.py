"""The digests in exported files: which file, of which program, undamaged."""

import hashlib

import numpy as np
import pytest
from small_programs import PROGRAM

from faceqat.export import digests, tflite_builder
from faceqat.export.formats import FORMATS
from faceqat.files import seal
from faceqat.integer import program as integer_program

EXPORTED = ['tflite', 'tflite_int8', 'onnx', 'onnx_qdq']


@pytest.fixture(scope='module', params=EXPORTED)
def content(request):
  return FORMATS[request.param].to_bytes(PROGRAM)


def test_a_file_is_what_was_written_and_names_its_program(content, tmp_path):
  assert digests.check(content)
  path = tmp_path / 'program.safetensors'
  integer_program.save(PROGRAM, path)
  # Of the program that is read back, too.
  loaded = integer_program.load(path)
  entry = digests.of_program(loaded)['program_digest']
  assert entry == f'program-sha256:{integer_program.digest(PROGRAM)}'
  assert entry.encode() in content


def test_any_damaged_byte_is_found(content):
  rng = np.random.default_rng(0)
  digest = content.index(b'file-sha256:')
  program = content.index(b'program-sha256:')
  # Anywhere, and in the digests and their marks.
  places = [*range(digest, digest + 76), *range(program, program + 79)]
  places += rng.choice(len(content), 100, replace=False).tolist()
  for place in places:
    damaged = bytearray(content)
    damaged[place] ^= 1 << int(rng.integers(8))
    with pytest.raises(ValueError, match='its SHA-256 does not match'):
      digests.check(bytes(damaged))


def test_a_file_that_is_cut_short_does_not_pass_for_one_without(content):
  for length in range(content.index(b'file-sha256:') + 12, len(content)):
    with pytest.raises(ValueError, match='its SHA-256 does not match'):
      digests.check(content[:length])


def test_a_file_of_others_has_none():
  assert not digests.check(b'')
  assert not digests.check(b'sha256:' + seal.BLANK.encode())


def test_a_file_that_was_exported_is_checked_before_it_is_run(tmp_path):
  path = tmp_path / 'model.tflite'
  content = FORMATS['tflite'].to_bytes(PROGRAM)
  path.write_bytes(content.replace(b'serving_', b'Serving_'))
  with pytest.raises(ValueError, match='its SHA-256 does not match'):
    FORMATS['tflite'].read(PROGRAM, path, False)
  assert tflite_builder.read_metadata(content)['contract'] == 'tflite_ref'


def test_zeros_before_the_mark_are_left_alone():
  content = seal.BLANK.encode() + b' mark:' + seal.BLANK.encode()
  closed = seal.close(content, 'mark:')
  assert closed.startswith(seal.BLANK.encode() + b' mark:')
  digest = closed[-64:].decode()
  assert digest == hashlib.sha256(content).hexdigest()
  assert seal.is_whole(closed, digest, 'mark:')
  assert not seal.is_whole(closed + b'0', digest, 'mark:')
