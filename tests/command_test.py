"""How commands start and fail; as subprocesses, as a user runs them."""

import dataclasses
import errno
import os
import pickle
import signal
import subprocess
import sys
import types
from collections.abc import Sequence

import command_line
import pytest
import settings
import small_forms
from absl import flags
from ml_collections import ConfigDict, config_flags
from settings import ROOT

from faceqat import command

SMOKE = 'configs/mbv2_int8.py:smoke'


def run(module, *flags):
  environment = {**settings.one_device(), 'PYTHONPATH': str(ROOT)}
  return subprocess.run(
    [sys.executable, '-m', f'faceqat.{module}', *map(str, flags)],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
  )


def check_refused(result, *parts):
  """One sentence on standard error, exit status 1, nothing else said."""
  assert result.returncode == 1, result.stderr
  assert result.stdout == ''
  line, *more = command_line.complaints(result.stderr)
  assert not more, result.stderr
  assert line.startswith('error: ')
  for part in parts:
    assert str(part) in line


@pytest.mark.parametrize(
  ('flag', 'parts'),
  [
    ('--config.modell.name=x', ['no field', "'modell'", '"model"']),
    ('--config.model.nam=x', ['no field', "'nam'", '"name"']),
    ('--config.lr=1', ['no field', "'lr'"]),
    ('--config.batch_size=many', ['--config.batch_size=many', 'int']),
    ('--config.data.check_images=maybe', ['images=maybe: give True or False']),
    ('--workdri=x', ["'workdri'", 'workdir']),
    ('extra', ["unexpected argument 'extra'"]),
  ],
)
def test_a_wrong_flag_is_one_sentence(flag, parts, tmp_path):
  result = run(
    'main', f'--config={SMOKE}', f'--workdir={tmp_path / "run"}', flag
  )
  check_refused(result, *parts)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('flags', 'parts'),
  [
    ([f'--config={SMOKE}'], ['--workdir is missing; give it: folder for all']),
    (['--workdir=x'], ['--config is missing; give it: the experiment, by its']),
    (
      ['--workdir=x', '--config=configs/mbv3.py'],
      ['configs/mbv3.py does not exist; give the file of a config, as --con'],
    ),
    (['--workdir=x', f'--config={SMOKE}r'], ["no form 'smoker'; there are"]),
    (['--workdir=x', '--config=configs'], ['configs is a folder; give the f']),
    (
      ['--workdir=x', '--config=Makefile'],
      ['Makefile is no file of Python with a config (SyntaxError: '],
    ),
  ],
)
def test_a_missing_or_unknown_config_is_one_sentence(flags, parts):
  check_refused(run('main', *flags), *parts)


@pytest.mark.parametrize('flag', ['--help', '-h'])
def test_help_says_how_to_run_it(flag):
  result = run('main', flag)
  assert 'python -m faceqat.main --config=configs/mbv2_int8.py' in result.stdout
  assert '--workdir' in result.stdout
  assert result.stderr == ''


def test_an_interruption_is_one_word():
  # A shell in the background would have it ignored.
  code = (
    'import signal; from faceqat import command; '
    'signal.signal(signal.SIGINT, signal.default_int_handler); '
    'command.run(lambda: signal.raise_signal(signal.SIGINT))'
  )
  result = subprocess.run(
    [sys.executable, '-c', code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert result.returncode == 130
  assert result.stdout == ''
  assert result.stderr == 'loading ...\ninterrupted\n'


def test_a_folder_that_cannot_be_made_is_one_sentence(capsys, monkeypatch):
  def make():
    raise PermissionError(errno.EACCES, 'Permission denied', '/proc/a')

  monkeypatch.setattr(command.app, 'run', lambda main, **_: main(['x']))
  monkeypatch.setattr(command.interruption, 'watch', lambda: None)
  with pytest.raises(
    SystemExit, match=r'^error: /proc/a cannot be .*\(Permiss'
  ):
    command.run(make)


class Hostile:
  def __reduce__(self):
    return os.system, ('echo this was run; touch was_run',)


def test_a_wrong_input_is_one_sentence_before_anything_is_written(tmp_path):
  """Of each kind one, as they start JAX: more are in tests of what reads it."""
  pack, pairs, program = (
    tmp_path / name for name in ('train.rec', 'lfw.bin', 'program.safetensors')
  )
  pack.write_bytes(b'\x0a\x23\xd7\xce' + (1000).to_bytes(4, 'little') + b'x')
  pairs.write_bytes(pickle.dumps(([Hostile()], [True])))
  program.write_bytes(b'\x00' * 100)
  inputs = sorted(tmp_path.iterdir())
  main = ('main', f'--workdir={tmp_path / "run"}')
  # The command: what it says.
  refused = {
    (*main, '--config.data.path=/nowhere/faces'): (
      'no image folder /nowhere/faces: set data.path to',
    ),
    (*main, f'--config.data.path={pack}'): (pack, 'truncated', 'copy it again'),
    (*main, f'--config.eval.path={pairs}'): (
      *(pairs, 'was not run', 'from a source you trust'),
    ),
    ('evaluate', f'--model={program}'): (
      *(program, 'no faceqat program file', 'conversion wrote'),
    ),
  }
  outcomes = small_forms.run(
    [f'faceqat.{name}', f'--config={SMOKE}', *flags] for name, *flags in refused
  )
  for outcome, parts in zip(outcomes, refused.values(), strict=True):
    check_refused(
      subprocess.CompletedProcess(
        (), outcome['status'], outcome['printed'], outcome['complaints']
      ),
      *parts,
    )
  assert sorted(tmp_path.iterdir()) == inputs
  assert not (ROOT / 'was_run').exists()


@pytest.fixture
def restarts(monkeypatch):
  """The restarts asked for, none of which happens."""
  calls = []
  monkeypatch.setattr(os, 'execv', lambda *call: calls.append(call))
  words = ['python', '-m', 'faceqat', 'train', '--workdir=x']
  monkeypatch.setattr(sys, 'orig_argv', words)
  monkeypatch.delenv('GLIBC_TUNABLES', raising=False)
  monkeypatch.setattr(command.platform, 'libc_ver', lambda: ('glibc', '2.36'))
  return calls


def test_training_restarts_once_under_its_allocator_settings(restarts):
  command.restart_with_tuned_allocator()
  assert restarts == [
    (
      sys.executable,
      [sys.executable, '-m', 'faceqat', 'train', '--workdir=x'],
    )
  ]
  assert os.environ.pop('GLIBC_TUNABLES') == command.TUNABLES


@pytest.mark.parametrize('reason', ['after the restart', 'other libc'])
def test_training_is_not_restarted_without_need(reason, restarts, monkeypatch):
  if reason == 'other libc':
    monkeypatch.setattr(command.platform, 'libc_ver', lambda: ('', ''))
  else:
    monkeypatch.setenv('GLIBC_TUNABLES', 'glibc.malloc.arena_max=2')
  command.restart_with_tuned_allocator()
  assert not restarts


@dataclasses.dataclass(frozen=True)
class Settings:
  out: str = command.option('here', 'A place.')
  times: int = command.option(1, 'How often.', least=1)
  rate: float | None = command.option(None, 'A share.')
  quick: bool = command.option(False, 'Whether.')
  size: command.ImageSize | None = command.option(None, 'Of images.')
  kind: str = command.option('a', 'Which.', choices=('a', 'b'))
  parts: Sequence[str] = command.option((), 'Several.')
  without_a_flag: str = ''


def test_a_field_of_settings_is_a_flag_of_its_type_default_and_checks():
  def define():
    flags.DEFINE_string('without_a_flag', 'x', 'Defined by the command.')
    command.define_settings(Settings)

  module = types.SimpleNamespace(__name__='test', define_flags=define)

  def given(*arguments):
    with command_line.arguments_of(module, *arguments):
      return command.given_settings(Settings)

  assert given() == Settings(parts=[], without_a_flag='x')
  assert given(
    '--out=b', '--times=2', '--rate=0.5', '--quick', '--size=3,4', '--kind=b',
    '--parts=c,d',
  ) == Settings('b', 2, 0.5, True, (3, 4), 'b', ['c', 'd'], 'x')  # fmt: skip
  for wrong in ('--times=0', '--kind=c', '--rate=x', '--size=wide'):
    with pytest.raises(SystemExit, match=f'error: .*{wrong}'):
      given(wrong)


def test_the_home_folder_is_meant_by_a_tilde(monkeypatch):
  monkeypatch.setenv('HOME', '/home/ann')
  argv = ['main', '--workdir=~/run', '--config.data.path=~/faces', '~/photos']
  # Where ml_collections looks for fields.
  monkeypatch.setattr(sys, 'argv', argv)
  values = flags.FlagValues()
  monkeypatch.setattr(flags, 'FLAGS', values)
  flags.DEFINE_string('workdir', '~/other', '', flag_values=values)
  config_flags.DEFINE_config_dict(
    'config',
    ConfigDict({'data': {'path': '', 'name': 'a~b'}, 'pretrained': '~'}),
    flag_values=values,
  )
  assert command.parse(argv) == ['main', '/home/ann/photos']
  assert values.workdir == '/home/ann/run'
  assert values.config.to_dict() == {
    'data': {'path': '/home/ann/faces', 'name': 'a~b'},
    'pretrained': '/home/ann',
  }


def test_a_repeated_path_names_a_set_more(monkeypatch):
  first = '--config.data.path=a, b'
  for argv, expected in (
    ([first], 'a, b'),
    ([first, '--config.data.path', '/c'], ('a, b', '/c')),
    ([first, '-config.data.path=c', first], ('a, b', 'c', 'a, b')),
  ):
    argv = ['main', *argv]
    monkeypatch.setattr(sys, 'argv', argv)
    values = flags.FlagValues()
    monkeypatch.setattr(flags, 'FLAGS', values)
    config_flags.DEFINE_config_dict(
      'config', ConfigDict({'data': {'path': ''}}), flag_values=values
    )
    assert command.parse(argv) == ['main']
    assert values.config.data.path == expected


@pytest.mark.parametrize(
  ('raised', 'status', 'line'),
  [
    (ValueError('a.jpg is no image'), 2, 'error: a.jpg is no image'),
    (RuntimeError('a mistake of ours'), 2, 'RuntimeError: a mistake of ours'),
  ],
)
def test_a_status_that_means_something_is_not_that_of_an_error(
  raised, status, line, monkeypatch, capsys
):
  def fail():
    raise raised

  monkeypatch.setattr(command.app, 'run', lambda main, **_: main(['x']))
  monkeypatch.setattr(command.interruption, 'watch', lambda: None)
  statuses = {0: 'yes', 1: 'no', 2: 'undecided', 130: 'stopped'}
  with pytest.raises(SystemExit) as end:
    command.run(fail, statuses=statuses)
  assert end.value.code == status
  *_, last = capsys.readouterr().err.splitlines()
  assert last == line


def test_a_reader_who_leaves_is_no_error():
  code = (
    'from faceqat import command; '
    'command.run(lambda: print("x" * 100_000, flush=True), loads=False)'
  )
  with subprocess.Popen(
    [sys.executable, '-c', code],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == ''
  assert process.returncode == 128 + signal.SIGPIPE
