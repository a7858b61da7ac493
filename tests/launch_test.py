"""The launch scripts, with fake commands that note how they are called."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from launch_variables import VARIABLES
from settings import ROOT

LAUNCH = ROOT / 'launch'
SCRIPTS = sorted(
  str(path.relative_to(LAUNCH))
  for path in LAUNCH.rglob('*')
  if path.suffix in ('.sh', '.sbatch')
)
FAKES = (
  *('gcloud', 'git', 'tmux', 'sudo', 'python3', 'hostname'),
  *('sbatch', 'squeue', 'srun', 'docker'),
)

# Notes its name and arguments, then runs the reply that a test has set.
FAKE = """#!/usr/bin/env bash
{ printf '%s\\0' "${0##*/}" "$@"; printf '\\036'; } >> "$CALLS"
if [[ -f "$REPLIES/${0##*/}" ]]; then source "$REPLIES/${0##*/}"; fi
"""


class Checkout:
  """A copy of the scripts, and fake commands first in PATH."""

  def __init__(self, folder):
    self.folder = folder
    self.root = folder / 'faceqat'
    shutil.copytree(LAUNCH, self.root / 'launch')
    shutil.copytree(ROOT / 'configs', self.root / 'configs')
    shutil.copy(ROOT / 'requirements.txt', self.root)
    self.calls_file = folder / 'calls'
    self.replies = folder / 'replies'
    self.replies.mkdir()
    for name in FAKES:
      self.add_fake(folder / 'bin' / name)

  def add_fake(self, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE)
    path.chmod(0o755)

  def run(self, command, *arguments, **variables):
    """A script of launch/, or a whole command, from the home folder."""
    if command in SCRIPTS:
      command = str(self.root / 'launch' / command)
    return subprocess.run(
      [command, *arguments],
      cwd=self.folder,
      env={
        'PATH': f'{self.folder / "bin"}:/usr/bin:/bin',
        'HOME': str(self.folder),
        'CALLS': str(self.calls_file),
        'REPLIES': str(self.replies),
        **variables,
      },
      capture_output=True,
      text=True,
      check=False,
    )

  def calls(self):
    """The calls since the last time."""
    if not self.calls_file.exists():
      return []
    records = self.calls_file.read_text().split('\036')[:-1]
    self.calls_file.unlink()
    return [record.split('\0')[:-1] for record in records]

  def reply(self, name, script):
    (self.replies / name).write_text(script)


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path)


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_script_is_bash_and_can_be_started(script):
  path = LAUNCH / script
  subprocess.run(['bash', '-n', path], check=True)
  is_sourced = path.name == 'common.sh'
  assert os.access(path, os.X_OK) != is_sourced
  assert path.read_text().startswith('#!/usr/bin/env bash\n') != is_sourced


def test_every_script_for_users_is_tested_here():
  for_users = {
    script
    for script in SCRIPTS
    if not pathlib.Path(script).name.startswith(('common', 'worker', 'train'))
  }
  assert set(VARIABLES) == for_users
  for script in VARIABLES:
    folder = (LAUNCH / script).parent
    assert f'launch/{script}' in (LAUNCH / script).read_text()
    assert pathlib.Path(script).name in (folder / 'README.md').read_text()


@pytest.mark.parametrize(
  ('script', 'missing'),
  [(script, name) for script in VARIABLES for name in VARIABLES[script]],
)
@pytest.mark.parametrize('flags', [[], ['--dry-run']])
def test_a_missing_variable_is_one_sentence(script, missing, flags, checkout):
  variables = {**VARIABLES[script], missing: ''}
  result = checkout.run(script, *flags, **variables)
  assert result.returncode == 1
  assert result.stdout == ''
  assert re.fullmatch(
    f'error: {missing} is not set; it is .+\n', result.stderr
  ), result.stderr
  assert not checkout.calls()


@pytest.mark.parametrize(
  ('script', 'variables', 'message'),
  [
    ('tpu_vm/run.sh', {'CONFIG': 'configs/no.py:smoke'}, 'there is no .*no.py'),
    ('slurm/submit.sh', {'CONFIG': 'mbv2'}, 'CONFIG is mbv2, but there is no'),
    ('slurm/submit.sh', {'WORKDIR': 'runs/a'}, 'WORKDIR is runs/a; give it'),
    ('docker/build.sh', {'DEVICE': 'tpu'}, 'DEVICE is tpu; give cpu or gpu'),
    ('docker/run.sh', {'DATA': '/nowhere'}, '/nowhere, but there is no such'),
  ],
)
def test_a_wrong_variable_is_one_sentence(script, variables, message, checkout):
  result = checkout.run(script, **{**VARIABLES[script], **variables})
  assert result.returncode == 1
  assert re.match(f'error: .*{message}', result.stderr), result.stderr
  assert len(result.stderr.splitlines()) == 1
  assert not checkout.calls()


VM = 'gcloud compute tpus tpu-vm'
LIST = f'{VM} list --zone=zone-b --format=value(name.basename())'
SSH = f'{VM} ssh pod --zone=zone-b'
# The commands of each script when nothing was done before.
COMMANDS = {
  'tpu_vm/create.sh': [
    LIST,
    f'{VM} create pod --zone=zone-b --accelerator-type=v6e-16 --version=v2',
  ],
  'tpu_vm/setup.sh': [
    'git -C ROOT archive --format=tar --output=/tmp/faceqat.tar HEAD',
    f'{VM} scp /tmp/faceqat.tar pod:faceqat.tar --zone=zone-b --worker=all',
    f'{SSH} --worker=all --command=mkdir -p faceqat && tar -xf faceqat.tar -C '
    'faceqat',
    f'{SSH} --worker=all --command=bash faceqat/launch/tpu_vm/worker_setup.sh',
  ],
  'tpu_vm/run.sh': [
    f'{SSH} --worker=all --command=bash faceqat/launch/tpu_vm/worker_run.sh a '
    '--config=configs/mbv2_int8.py'
  ],
  'tpu_vm/stop.sh': [
    f'{SSH} --worker=0 --command=tmux send-keys -t faceqat C-c'
  ],
  'tpu_vm/fetch.sh': [
    'mkdir -p ROOT/runs',
    f'{VM} scp --recurse pod:runs/a ROOT/runs/ --zone=zone-b --worker=0',
  ],
  'tpu_vm/delete.sh': [LIST, f'{VM} delete pod --zone=zone-b'],
  'slurm/submit.sh': [
    'squeue --me --name=faceqat:/shared/a --noheader --format=%i',
    'mkdir -p /shared/a',
    'sbatch --job-name=faceqat:/shared/a --nodes=2 --ntasks-per-node=8 '
    '--gpus-per-node=8 --cpus-per-task=4 --chdir=ROOT '
    '--output=/shared/a/slurm-%j.txt ROOT/launch/slurm/train.sbatch '
    '--config=configs/mbv2_int8.py:smoke --workdir=/shared/a',
  ],
  'docker/build.sh': [
    'docker build --file=ROOT/launch/docker/Dockerfile.gpu --tag=faceqat:gpu '
    'ROOT'
  ],
  'docker/run.sh': [
    'docker container ls --all --filter=name=^faceqat-a$ --format={{.State}}',
    'mkdir -p ROOT/runs',
    f'docker run --detach --init --name=faceqat-a --gpus=all '
    f'--user={os.getuid()}:{os.getgid()} --volume=ROOT/runs:/runs faceqat:gpu '
    '--config=configs/mbv2_int8.py --workdir=/runs/a',
  ],
}


@pytest.mark.parametrize('script', VARIABLES)
def test_a_dry_run_prints_the_commands_and_runs_none(script, checkout):
  before = sorted(checkout.folder.rglob('*'))
  result = checkout.run(script, '--dry-run', **VARIABLES[script])
  assert result.returncode == 0, result.stderr
  printed = [line.removeprefix('+ ') for line in result.stderr.splitlines()]
  # As a shell reads them: they can be pasted.
  words = [
    subprocess.run(
      ['bash', '-c', f'printf "%s " {line}'], capture_output=True, text=True
    ).stdout.strip()
    for line in printed
  ]
  wanted = [
    line.replace('ROOT', str(checkout.root)) for line in COMMANDS[script]
  ]
  assert words == wanted
  assert not checkout.calls()
  assert sorted(checkout.folder.rglob('*')) == before


@pytest.mark.parametrize('script', VARIABLES)
def test_what_is_printed_is_what_is_run(script, checkout):
  variables = dict(VARIABLES[script])
  wanted = [
    line.replace('ROOT', str(checkout.root))
    for line in COMMANDS[script]
    if not line.startswith('mkdir')
  ]
  if 'WORKDIR' in variables:
    variables['WORKDIR'] = str(checkout.folder / 'a')
    wanted = [w.replace('/shared/a', variables['WORKDIR']) for w in wanted]
  if script == 'tpu_vm/delete.sh':
    checkout.reply('gcloud', 'echo pod')
  result = checkout.run(script, **variables)
  assert result.returncode == 0, result.stderr
  calls = checkout.calls()
  calls = [' '.join(call) for call in calls if 'status' not in call]
  assert calls == wanted


@pytest.mark.parametrize(
  ('script', 'command', 'reply', 'said', 'calls'),
  [
    ('tpu_vm/create.sh', 'gcloud', 'echo pod', 'pod exists already', 1),
    # Another VM whose name begins alike does not count.
    ('tpu_vm/create.sh', 'gcloud', 'echo pod-2', '', 2),
    ('tpu_vm/delete.sh', 'gcloud', 'echo pod-2', 'pod does not exist', 1),
    ('slurm/submit.sh', 'squeue', 'echo 17', 'job 17 of .*/a is queued', 1),
    ('docker/run.sh', 'docker', 'echo running', 'faceqat-a runs already', 1),
    # An ended container makes room for the run that goes on.
    ('docker/run.sh', 'docker', 'echo exited', '', 3),
  ],
)
def test_what_is_done_already_is_left_alone(
  script, command, reply, said, calls, checkout
):
  checkout.reply(command, reply)
  variables = dict(VARIABLES[script])
  if 'WORKDIR' in variables:
    variables['WORKDIR'] = str(checkout.folder / 'a')
  result = checkout.run(script, **variables)
  assert result.returncode == 0, result.stderr
  assert re.match(said, result.stdout), result.stdout
  assert len(checkout.calls()) == calls


@pytest.mark.parametrize('script', ['tpu_vm/create.sh', 'tpu_vm/delete.sh'])
def test_a_failing_gcloud_does_not_mean_no(script, checkout):
  checkout.reply('gcloud', 'echo not logged in >&2; exit 1')
  result = checkout.run(script, **VARIABLES[script])
  assert result.returncode == 1
  assert 'not logged in' in result.stderr
  assert len(checkout.calls()) == 1


def test_flags_arrive_on_the_worker_as_they_were_given(checkout):
  flags = ["--config.data.path=/it's here/*", '--config.x="$HOME;a"']
  run = 'my run'
  variables = {**VARIABLES['tpu_vm/run.sh'], 'RUN': run}
  checkout.run('tpu_vm/run.sh', *flags, **variables)
  (call,) = checkout.calls()
  (command,) = (
    part.removeprefix('--command=') for part in call if '--command' in part
  )
  # On the worker, the checkout is in the home folder.
  checkout.reply('tmux', '[[ "$1" != has-session ]]')
  result = checkout.run('bash', '-c', command)
  assert result.returncode == 0, result.stderr
  tmux = [call for call in checkout.calls() if call[0] == 'tmux']
  assert tmux[-1][:-1] == ['tmux', 'new-session', '-d', '-s', 'faceqat']
  checkout.add_fake(checkout.root / '.venv' / 'bin' / 'python')
  subprocess.run(
    ['bash', '-c', tmux[-1][-1]],
    cwd=checkout.root,
    env={'CALLS': str(checkout.calls_file), 'REPLIES': '', 'PATH': '/bin'},
    check=True,
  )
  workdir = checkout.folder / 'runs' / run
  assert checkout.calls() == [
    [
      *('python', '-m', 'faceqat.main', '--distributed'),
      f'--workdir={workdir}',
      '--config=configs/mbv2_int8.py',
      *flags,
    ]
  ]
  assert (workdir / 'log.txt').exists()
  # A second time it is found, and nothing is started.
  checkout.reply('tmux', '')
  result = checkout.run('bash', '-c', command)
  assert 'a training runs already' in result.stdout
  assert ['tmux', 'has-session', '-t', 'faceqat'] in checkout.calls()


def test_a_worker_gets_jax_for_tpu_and_the_images(checkout):
  checkout.reply(
    'python3', f'if [[ $2 == site ]]; then echo {checkout.folder}; fi'
  )
  checkout.add_fake(checkout.folder / 'bin' / 'uv')
  wanted = checkout.folder / 'requirements'
  checkout.reply('uv', f'if [[ $1 == pip ]]; then cat > {wanted}; fi')
  script = checkout.root / 'launch' / 'tpu_vm' / 'worker_setup.sh'
  result = checkout.run(str(script), 'gs://b/faces')
  assert result.returncode == 0, result.stderr
  lines = wanted.read_text().splitlines()
  originals = (ROOT / 'requirements.txt').read_text().splitlines()
  changed = [
    line for line, original in zip(lines, originals) if line != original
  ]
  assert len(lines) == len(originals)
  assert len(changed) == 1
  assert changed[0].startswith('jax[tpu]==')
  data = str(checkout.folder / 'data')
  assert checkout.calls()[-1] == [
    *('gcloud', 'storage', 'rsync', '--recursive', 'gs://b/faces', data)
  ]


def test_a_slurm_job_starts_a_process_for_each_task(checkout):
  script = checkout.root / 'launch' / 'slurm' / 'train.sbatch'
  checkout.reply('srun', 'echo "$SRUN_CPUS_PER_TASK"')
  result = checkout.run(str(script), '--workdir=/a b', SLURM_CPUS_PER_TASK='6')
  assert result.stdout == '6\n'
  (call,) = checkout.calls()
  assert call == [
    *('srun', '--kill-on-bad-exit=1', '.venv/bin/python', '-m'),
    *('faceqat.main', '--distributed', '--workdir=/a b'),
  ]


@pytest.mark.parametrize('device', ['cpu', 'gpu'])
def test_an_image_copies_what_there_is(device):
  lines = (LAUNCH / 'docker' / f'Dockerfile.{device}').read_text().splitlines()
  copied = [line.split()[1] for line in lines if line.startswith('COPY')]
  assert copied == ['requirements.txt', 'configs', 'faceqat']
  assert all((ROOT / name).exists() for name in copied)
  assert lines[-2] == 'ENTRYPOINT ["python", "-m", "faceqat.main"]'


def test_the_image_for_gpus_has_jax_for_gpus(tmp_path):
  text = (LAUNCH / 'docker' / 'Dockerfile.gpu').read_text()
  command = re.search(r'^RUN (sed .* > requirements-gpu.txt)', text, re.M)[1]
  shutil.copy(ROOT / 'requirements.txt', tmp_path)
  subprocess.run(['sh', '-c', command], cwd=tmp_path, check=True)
  lines = (tmp_path / 'requirements-gpu.txt').read_text().splitlines()
  assert sum(line.startswith('jax[cuda12]==') for line in lines) == 1
  assert not any(line.startswith('jax==') for line in lines)
