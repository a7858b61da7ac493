"""Kills commands at random moments, starts them again, and compares bits.

  python -m benchmarks.kills --kills=20 --photographs=../shared/data/photos

Each command (main, convert and prepare, or those that are named) runs once
undisturbed. Then it is killed (kill -9) --kills times, each time at a random
moment in the later part of its work, and started again until it ends. Its
folder must then hold what the undisturbed run left, bit for bit, and nothing
else may be left beside it. The moment is a share of the processor time of the
undisturbed run, so that other work on the machine does not move it.

Times are not compared: neither TensorBoard's files, which have them in each
record, nor the fields of `TIMES`. Of checkpoints, in which Orbax notes when
they were made, the digests of all parts are compared.

The network is the one of the tests, which takes seconds; --config=FILE names
another.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from absl import flags

import faceqat.command
from benchmarks.running import ROOT, check_names

COMMANDS = ('main', 'convert', 'prepare')
TIMES = {'time', 'train/images_per_second', 'milliseconds'}
# Before this share of the time a command is mostly importing.
_EARLIEST = 0.5
# Makes the network of the tests one that `make_model` finds.
_START = (
  'import runpy, sys; from faceqat import models; '
  'models.__path__.append(sys.argv[1]); del sys.argv[0:2]; '
  'runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)'
)
_TICKS = os.sysconf('SC_CLK_TCK')


class Runner:
  """Starts commands that work in a given folder."""

  def __init__(self, folder: pathlib.Path, config: str, photographs: str):
    self._config, self._photographs = config, photographs
    self._folder = folder
    self.trained = folder / 'main' / 'whole' / 'out'

  def words(self, command: str, out: pathlib.Path) -> list[str]:
    """A command that makes the folder `out`."""
    if command == 'main':
      return [f'--config={self._config}', f'--workdir={out}']
    if command == 'convert':
      return [f'--model={self.trained}', f'--out={out}', '--num_images=4']
    return [self._photographs, str(out), '--workers=1', '--split=60,20,20']

  def start(self, command: str, out: pathlib.Path) -> subprocess.Popen:
    """Starts a command; what it prints goes to `log` in the folder."""
    environment = {
      **os.environ,
      'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests/support')]),
      # Set, it does not start itself anew.
      'GLIBC_TUNABLES': '',
      'JAX_PLATFORMS': 'cpu',
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    }
    environment.setdefault(
      'JAX_COMPILATION_CACHE_DIR', str(self._folder / 'compiled')
    )
    code = [sys.executable, '-c', _START, str(ROOT / 'tests/extra_models')]
    with open(self._folder / 'log', 'a') as log:
      return subprocess.Popen(
        [*code, f'faceqat.{command}', *self.words(command, out)],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
      )

  def finish(self, command: str, out: pathlib.Path) -> float:
    """Runs a command to its end; the seconds of processors that it took."""
    process = self.start(command, out)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      log = (self._folder / 'log').read_text()
      raise RuntimeError(f'{command} ended with {status}: {log[-3000:]}')
    return usage.ru_utime + usage.ru_stime

  def kill(self, command: str, out: pathlib.Path, seconds: float) -> bool:
    """Kills a command after so many seconds; False: it ended before."""
    process = self.start(command, out)
    while process.poll() is None:
      if _processor_seconds(process.pid) >= seconds:
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL
      time.sleep(0.002)
    return False


def _processor_seconds(process: int) -> float:
  fields = pathlib.Path(f'/proc/{process}/stat').read_text().rpartition(')')[2]
  user, system = fields.split()[11:13]
  return (int(user) + int(system)) / _TICKS


def left_in(folder: pathlib.Path) -> dict[str, object]:
  """The content of a folder by name, without what differs between runs."""
  found = {}
  for path in sorted(folder.rglob('*')):
    name = path.relative_to(folder).as_posix()
    # The lock stays, and names its last owner.
    if path.is_dir() or name == '.lock' or 'tfevents' in name:
      continue
    is_digest = name.endswith('digests/metadata')
    if name.startswith('checkpoints/') and not is_digest:
      continue
    if path.suffix in ('.json', '.jsonl') or is_digest:
      found[name] = _timeless(path)
    else:
      found[name] = path.read_bytes()
  return found


def _timeless(path: pathlib.Path) -> object:
  """JSON without `TIMES`; of lines with steps, the last one of each step."""

  def without_times(value):
    if isinstance(value, dict):
      return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return value

  lines = path.read_text().splitlines() if path.suffix == '.jsonl' else None
  if lines is None:
    return without_times(json.loads(path.read_text()))
  return {line['step']: without_times(line) for line in map(json.loads, lines)}


def differences(
  command: str, wanted: pathlib.Path, found: pathlib.Path
) -> list[str]:
  """The names of files that differ, or that one of two folders lacks."""
  before, after = left_in(wanted), left_in(found)
  differ = [
    name
    for name in sorted(before.keys() | after.keys())
    if before.get(name) != after.get(name)
  ]
  # Only what a run leaves for the next one may be beside the folder.
  beside = {path.name for path in found.parent.iterdir()}
  allowed = {found.name}
  if command == 'prepare':
    allowed.add(f'{found.name}.work')
  return [*differ, *sorted(beside - allowed)]


def check(command: str, runner: Runner, folder: pathlib.Path, kills: int):
  """Kills a command `kills` times; returns the number of failures."""
  wanted = runner.trained
  if command != 'main':
    wanted = folder / command / 'whole' / 'out'
  if not wanted.exists():
    wanted.parent.mkdir(parents=True, exist_ok=True)
    seconds = runner.finish(command, wanted)
  if command != 'prepare':
    # Again, now that everything is compiled.
    again = folder / command / 'again' / 'out'
    again.parent.mkdir()
    seconds = runner.finish(command, again)
    names = differences(command, wanted, again)
    if names:
      raise RuntimeError(f'{command}: undisturbed runs differ in {names}')
  draw = random.Random(0)
  failed = killed = attempts = 0
  while killed < kills:
    attempts += 1
    out = folder / command / str(attempts) / 'out'
    out.parent.mkdir()
    moment = draw.uniform(_EARLIEST, 1) * seconds
    # This time it may be faster, and end first.
    if runner.kill(command, out, moment):
      killed += 1
      runner.finish(command, out)
      names = differences(command, wanted, out)
      failed += bool(names)
      print(
        f'{command} killed after {moment:.2f} of {seconds:.2f} s: '
        f'{", ".join(names) or "equal"}',
        flush=True,
      )
    shutil.rmtree(out.parent)
  print(f'{command}: {kills - failed} of {kills} equal', flush=True)
  return failed


def define_flags():
  flags.DEFINE_integer('kills', 20, 'Of each command.', lower_bound=1)
  flags.DEFINE_string(
    'config', 'tests/support/tiny_run.py', 'What `main` trains.'
  )
  flags.DEFINE_string('photographs', None, 'Folder that `prepare` reads.')


def main(*names: str):
  args, names = flags.FLAGS, names or COMMANDS
  check_names('COMMAND', names, COMMANDS)
  if 'prepare' in names and not args.photographs:
    raise ValueError('prepare needs --photographs=FOLDER')
  with tempfile.TemporaryDirectory() as made:
    folder = pathlib.Path(made)
    runner = Runner(folder, args.config, args.photographs)
    if 'convert' in names:
      runner.trained.parent.mkdir(parents=True)
      runner.finish('main', runner.trained)
    failed = sum(check(name, runner, folder, args.kills) for name in names)
  sys.exit(1 if failed else 0)


if __name__ == '__main__':
  define_flags()
  faceqat.command.run(main, ('[COMMAND...]',))
