"""What is kept of compiled programs, where, and that it stays sound."""

import os
import platform
import subprocess
import sys
import warnings

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from absl import flags
from jax.experimental.compilation_cache import compilation_cache as of_jax
from settings import ROOT

from faceqat import command, compilation_cache, main
from faceqat.quant.spec import Mode


@pytest.fixture
def options(tmp_path, monkeypatch):
  """The options of JAX that were set, in a home of its own."""
  options = {}
  monkeypatch.setattr(compilation_cache, '_set', options.__setitem__)
  monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return options


def test_the_folder_is_the_users_unless_another_is_given(
  options, tmp_path, monkeypatch
):
  compilation_cache.keep(None)
  own = tmp_path / 'cache' / 'faceqat' / 'compiled'
  assert options['compilation_cache_dir'] == str(own)
  assert own.stat().st_mode & 0o777 == 0o700
  compilation_cache.keep(str(tmp_path / 'a' / 'b'))
  assert options['compilation_cache_dir'] == str(tmp_path / 'a' / 'b')
  compilation_cache.keep('none')
  assert options['compilation_cache_dir'] is None
  options.clear()
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '/mine')
  compilation_cache.keep(None)
  assert not options


def test_nothing_is_kept_where_others_may_write_or_nobody_can(
  options, tmp_path, monkeypatch
):
  folder = tmp_path / 'cache' / 'faceqat' / 'compiled'
  folder.mkdir(parents=True)
  folder.chmod(0o777)
  compilation_cache.keep(None)
  folder.rmdir()
  folder.touch()
  compilation_cache.keep(None)
  monkeypatch.delenv('XDG_CACHE_HOME')

  def homeless():
    raise RuntimeError('Could not determine home directory.')

  monkeypatch.setattr(compilation_cache.pathlib.Path, 'home', homeless)
  compilation_cache.keep(None)
  assert not options
  with pytest.raises(FileExistsError, match='compiled'):
    compilation_cache.keep(str(folder))


def test_what_was_used_longest_ago_goes_first(options, tmp_path, monkeypatch):
  del options
  monkeypatch.setattr(compilation_cache, 'LARGEST_BYTES', 20)
  for name, read, written in (('old', 1, 1), ('read', 9, 1), ('new', 5, 5)):
    path = tmp_path / f'jit_{name}-0-cache'
    path.write_bytes(bytes(10))
    os.utime(path, (read, written))
  (tmp_path / 'notes.txt').write_bytes(bytes(100))
  compilation_cache.keep(str(tmp_path))
  left = [path.name for path in compilation_cache.entries(tmp_path)]
  assert left == ['jit_new-0-cache', 'jit_read-0-cache']
  assert (tmp_path / 'notes.txt').exists()


# Prints what was found of the two programs, each time they are compiled anew.
_TWO_PROGRAMS = """
import resource, signal, sys
from faceqat import command, compilation_cache, main

compilation_cache.keep(sys.argv[1])
import jax, jax.numpy as jnp

folder = compilation_cache.pathlib.Path(sys.argv[1])
found = []
jax.monitoring.register_event_listener(
  lambda name, **_: found.append('found') if name.endswith('cache_hits') else 0
)

def compute(what):
  del found[:]
  jax.clear_caches()
  jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((8, 8))).compile()
  print(what, *found)

compute('empty')
compute('full')
for path in compilation_cache.entries(folder):
  path.write_bytes(path.read_bytes()[:-9])
compute('damaged')
compute('mended')
for path in compilation_cache.entries(folder):
  path.unlink()
# As on a full disk.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
compute('no room')
"""


@pytest.mark.skipif(sys.platform == 'win32', reason='limits files')
def test_damage_and_a_full_disk_cost_no_more_than_the_time(tmp_path):
  result = subprocess.run(
    [sys.executable, '-c', _TWO_PROGRAMS, str(tmp_path / 'compiled')],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
  )
  assert result.stderr == ''
  found = [line.split() for line in result.stdout.splitlines()]
  # Making the input is a program, too.
  every = found[1][1:]
  assert set(every) == {'found'}
  assert found == [
    ['empty'],
    ['full', *every],
    ['damaged'],
    ['mended', *every],
    ['no', 'room'],
  ]


def test_other_warnings_are_shown(options, tmp_path, monkeypatch):
  del options
  shown = []
  monkeypatch.setattr(
    warnings, 'showwarning', lambda text, *_: shown.append(text)
  )
  compilation_cache.keep(str(tmp_path))
  warnings.showwarning('mind the gap', UserWarning, 'a.py', 1)
  assert shown == ['mind the gap']


# Of ml_collections, which reads a config.
@pytest.mark.filterwarnings(
  r'ignore:the load_module\(\) method:DeprecationWarning'
)
@pytest.mark.parametrize('given', [[], ['--compilation_cache=/of/all']])
def test_processes_that_train_as_one_need_a_folder_that_is_named(
  given, monkeypatch
):
  kept = []
  monkeypatch.setattr(compilation_cache, 'keep', kept.append)
  needed = ['--config=mbv2_int8', '--workdir=/run', '--distributed']
  with command_line.arguments_of(main, *needed, *given):
    command._keep_compiled()
  flags.FLAGS['compilation_cache'].unparse()
  assert kept == ['/of/all'] * len(given)


@pytest.mark.skipif(
  platform.machine() != 'x86_64', reason='names instructions of x86'
)
def test_an_entry_is_one_of_the_processor():
  """A part of JAX's key is the processor as XLA sees it, with its features."""
  code = (
    'import jax; from jax._src.lib import xla_client as c;'
    'print(c.get_topology_for_devices(jax.devices()).fingerprint())'
  )
  processors = [
    subprocess.run(
      [sys.executable, '-c', code],
      capture_output=True,
      text=True,
      check=True,
      env={**os.environ, 'XLA_FLAGS': flags},
    ).stdout
    for flags in ('', '', '--xla_cpu_max_isa=SSE4_2')
  ]
  assert processors[0] == processors[1] != processors[2]


def test_bits_are_those_of_a_compilation(tmp_path):
  """Of steps with no cache, with an empty one and with a full one."""
  used = jax.config.jax_compilation_cache_dir
  folder = str(tmp_path / 'compiled')
  ends = []
  try:
    for kept in (None, folder, folder):
      jax.clear_caches()
      of_jax.reset_cache()
      jax.config.update('jax_compilation_cache_dir', kept)
      ends.append(_after_two_steps())
  finally:
    of_jax.reset_cache()
    jax.config.update('jax_compilation_cache_dir', used)
  for end in ends[1:]:
    jax.tree.map(np.testing.assert_array_equal, end, ends[0])


def _after_two_steps():
  _, state, step = tiny_run.make_start(tiny_run.make_config())
  batch = {
    'image': jnp.arange(8 * 32 * 32 * 3, dtype=jnp.uint8).reshape(8, 32, 32, 3),
    'label': jnp.arange(8) % tiny_run.NUM_CLASSES,
  }
  for _ in range(2):
    # Each step takes the memory of the state before it.
    state, metrics = step(state, batch, mode=Mode(train=True, observe=True))
  return jax.tree.map(np.asarray, (state, metrics))
