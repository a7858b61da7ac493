"""Configs are found by name, in a checkout and where faceqat is installed."""

import runpy
import subprocess
import sys

import pytest
from ml_collections import ConfigDict
from settings import ROOT

from configs import mbv2_int8
from faceqat import config_files


def flat(config, prefix=''):
  for name, value in config.items():
    if hasattr(value, 'items') and len(value):
      yield from flat(value, f'{prefix}{name}.')
    else:
      yield prefix + name


def test_a_name_is_a_file_and_a_path_stays_as_it_is(tmp_path, monkeypatch):
  path = str(ROOT / 'configs' / 'mbv2_int8.py')
  assert 'mbv2_int8' in config_files.names()
  assert not {'base', 'common', 'compose'} & {*config_files.names()}
  assert config_files.path_of('mbv2_int8') == path
  assert config_files.path_of('mbv2_int8:model=ir18') == f'{path}:model=ir18'
  for own in ('configs/mine.py:smoke', 'mine.py', 'folder/mine'):
    assert config_files.path_of(own) == own
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine').touch()
  assert config_files.path_of('mine:a') == 'mine:a'


def test_an_unknown_name_lists_the_names():
  with pytest.raises(
    ValueError, match=r"no config 'mbv2'; did you mean mbv2_int"
  ):
    config_files.path_of('mbv2')
  with pytest.raises(
    ValueError, match=r"'x'; there are facenet.*, sface_int8; or"
  ):
    config_files.path_of('x')


@pytest.mark.parametrize('form', ['', 'loss=center,norm=renorm,model=ir18'])
def test_every_field_is_listed_with_its_value_and_comment(form):
  config = mbv2_int8.get_config(form)
  fields = list(config_files.fields(config))
  names = [field.name for field in fields]
  assert sorted(names) == sorted(flat(config))
  comments = {field.name: field.comment for field in fields}
  assert comments['quant.default.decay'] == (
    "Of 'ema': the weight of the past, per step."
  )
  # Over several lines, and of a block of the part that was put in.
  assert comments['data.changed_people'].startswith('When a run goes on and')
  assert comments['data.changed_people'].endswith('of their first images.')
  assert comments['loss.label_smoothing' if not form else 'loss.alpha']
  if form:
    assert comments['model.norm.start'].startswith('In updates: batch norm')
  values = {field.name: field.value for field in fields}
  assert values['total_steps'] == 500
  # In the order of the source: what belongs together stands together.
  place = names.index('optimizer.schedule')
  assert names[place + 1 : place + 3] == [
    'optimizer.step_boundaries', 'optimizer.step_factor'
  ]  # fmt: skip


def test_fields_of_ones_own_have_no_comment():
  config = ConfigDict({'a': 1, 'b': {'c': 2}})
  assert [tuple(field) for field in config_files.fields(config)] == [
    ('a', 1, ''), ('b.c', 2, '')
  ]  # fmt: skip


def test_an_installed_faceqat_finds_its_configs_in_any_folder(tmp_path):
  """As setup.py packs it: `configs` lies in the package."""
  package = tmp_path / 'site' / 'faceqat'
  package.mkdir(parents=True)
  for entry in (ROOT / 'faceqat').iterdir():
    (package / entry.name).symlink_to(entry)
  (package / 'configs').symlink_to(ROOT / 'configs')
  result = subprocess.run(
    [
      sys.executable,
      '-m',
      'faceqat',
      'train',
      '--config=mbv2_int8:smoke',
      '-h',
    ],
    cwd=tmp_path,
    env={'PYTHONPATH': str(tmp_path / 'site'), 'PATH': ''},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  assert '--config.data.stored_size=112\n' in result.stdout
  assert '  python -m faceqat train --config=mbv2_int8 ' in result.stdout


def test_every_folder_is_packed_and_the_configs_with_them(monkeypatch):
  setuptools = pytest.importorskip('setuptools', reason='pip brings its own')
  packed = {}
  monkeypatch.setattr(
    setuptools, 'setup', lambda **fields: packed.update(fields)
  )
  monkeypatch.chdir(ROOT)
  runpy.run_path('setup.py')
  folders = {
    '.'.join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / 'faceqat').rglob('*.py')
  }
  assert {*packed['packages']} == folders | {'faceqat.configs'}
  assert packed['package_dir'] == {'faceqat.configs': 'configs'}
