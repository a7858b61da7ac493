"""What the doctor finds."""

import importlib.metadata
import sys

import jax
import pytest

from faceqat import doctor


def test_it_says_what_is_there(capsys, monkeypatch, tmp_path):
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '/a/cache')
  monkeypatch.setenv('GLIBC_TUNABLES', 'mine')
  kept = tmp_path / 'faceqat' / 'sface_int8-0.safetensors'
  kept.parent.mkdir()
  kept.touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert doctor.main() == 0
  printed = capsys.readouterr().out
  for text in (
    f'jax {jax.__version__}, flax ',
    f'{jax.device_count()} cpu (cpu)',
    '0 MB in /a/cache',
    'GLIBC_TUNABLES=mine',
    f'integer program: {kept}',
  ):
    assert text in printed
  for name in ('torch', 'tensorflow', 'tflite-micro', 'openvino', 'pnnx'):
    assert f'  {name} ' in printed


def test_what_is_missing_or_another_version_is_marked(capsys, monkeypatch):
  version = importlib.metadata.version

  def changed(name):
    if name == 'flax':
      raise importlib.metadata.PackageNotFoundError(name)
    return '1.0' if name == 'optax' else version(name)

  monkeypatch.setattr(importlib.metadata, 'version', changed)
  assert doctor.main() == 1
  marked = [
    line.strip()
    for line in capsys.readouterr().out.splitlines()
    if line.startswith('  !')
  ]
  assert len(marked) == 2
  assert marked[0].startswith('! flax ')
  assert 'is missing; pip install flax==' in marked[0]
  assert marked[1].startswith('! optax is 1.0, tested with ')


@pytest.mark.skipif(sys.platform != 'linux', reason='of /proc')
def test_a_processor_is_named_with_what_it_can(tmp_path, monkeypatch, capsys):
  file = tmp_path / 'cpuinfo'
  file.write_text('model name\t: A 9000\nflags\t\t: fpu avx2 avx512_vnni\n')
  monkeypatch.setattr(doctor, 'CPUINFO', file)
  lines = list(doctor._processor())
  assert lines[0].startswith('A 9000, ')
  assert lines[1] == 'features: avx2 avx512_vnni'
