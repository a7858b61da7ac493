"""`faceqat NAME`, its help, and the configs that it finds by name."""

import ast
import os
import re
import subprocess
import sys

import pytest
import small_forms
from settings import ROOT

from faceqat import __main__ as program
from faceqat import subcommands


def test_without_arguments_it_lists_the_commands_with_a_line_each(
  monkeypatch, capsys
):
  monkeypatch.setattr(sys, 'argv', ['faceqat'])
  program.main()
  printed = capsys.readouterr().out
  assert max(map(len, printed.splitlines())) <= 80
  for name in subcommands.COMMANDS:
    line = subcommands.summary(name)
    assert re.search(f'^  {name} +{re.escape(line)}$', printed, re.MULTILINE)


def test_it_starts_at_once_and_imports_a_command_when_it_is_chosen():
  """Only the standard library is there."""
  result = subprocess.run(
    [sys.executable, '-S', '-m', 'faceqat', '-h'],
    cwd=ROOT,
    env={'PATH': os.environ['PATH']},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  assert 'usage: python -m faceqat COMMAND' in result.stdout


@pytest.mark.parametrize(
  ('name', 'near'),
  [
    ('evalute', 'did you mean evaluate?'),
    ('assign_bits', 'did you mean assign-bits?'),
    ('xyz', 'faceqat -h lists them all'),
  ],
)
def test_a_misspelt_command_is_one_sentence(name, near, monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['faceqat', name])
  expected = f'^error: there is no command {name!r}; {re.escape(near)}$'
  with pytest.raises(SystemExit, match=expected):
    program.main()


@pytest.mark.parametrize(
  ('words', 'called'),
  [
    (['/venv/bin/faceqat', 'train'], 'faceqat'),
    (['-m', 'faceqat', 'train'], 'python -m faceqat'),
    (['-S', '-m', 'faceqat', 'train'], 'python -m faceqat'),
    (['-m', 'faceqat.main'], None),
  ],
)
def test_examples_are_commands_as_the_user_called_it(
  words, called, monkeypatch
):
  monkeypatch.setattr(sys, 'orig_argv', ['python', *words])
  text = 'python -m faceqat.assign_bits --config=configs/a.py'
  expected = f'{called} assign-bits --config=a' if called else text
  assert subcommands.as_called(text) == expected
  assert subcommands.as_called('python -m pip') == 'python -m pip'


@pytest.fixture(scope='module')
def helped():
  """What each command prints for -h, and `train` for a config besides."""
  commands = [
    *(('faceqat', name, '-h') for name in subcommands.COMMANDS),
    ('faceqat', 'train', '--config=mbv2_int8:loss=center', '--help'),
    ('faceqat', 'train', '--config=mbv3', '--help'),
    ('faceqat', 'verify', 'a.jpg'),
    ('faceqat', 'verify', 'a.jpg', '--modl=b'),
  ]
  return {
    words[1:]: outcome
    for words, outcome in zip(commands, small_forms.run(commands))
  }


@pytest.mark.parametrize('name', subcommands.COMMANDS)
def test_help_has_examples_flags_with_defaults_and_statuses(name, helped):
  outcome = helped[name, '-h']
  assert (outcome['status'], outcome['complaints']) == (0, '')
  printed = outcome['printed']
  assert printed.startswith(subcommands.summary(name))
  examples = re.search(r'\nexamples:\n((?:  .+\n)+)', printed)[1]
  assert examples.startswith(f'  python -m {subcommands.COMMANDS[name]}')
  assert '  --[no]quiet\n' in printed
  assert re.search(r'\nexit status:\n  0   .+\n  1   .+', printed)
  # Not the dozens of absl, and no line that a terminal would break.
  assert '--logtostderr' not in printed
  assert max(map(len, printed.splitlines())) <= 80


def test_help_says_what_has_to_be_given_and_what_may_be(helped):
  printed = helped['convert', '-h']['printed']
  needed, others = printed.split('\nflags:\n')
  assert 'that have to be given:\n  --model=TEXT\n      Folder of' in needed
  assert re.search(r'--out=TEXT\n      Folder for the files\.\n', needed)
  assert '  --contract=tflite_ref|xnnpack\n      Whose rounding' in others
  assert re.search(r'--step=TEXT\n .*\(default: latest\)\n', others)
  assert '  --[no]normalize\n' in others
  assert '\nwhat is compared:\n  --images=TEXT\n' in others
  # An older name of a flag.
  assert '--checkpoint' not in printed


def test_help_lists_every_field_of_a_config_with_its_comment(helped):
  outcome = helped['train', '--config=mbv2_int8:loss=center', '--help']
  assert outcome['status'] == 0, outcome['complaints']
  printed = outcome['printed']
  assert re.findall(r'^  --config\.([\w.]+)=', printed, re.MULTILINE)
  for line in (
    "--config.data.path=''\n      A folder person/image.jpg, a RecordIO",
    '--config.total_steps=500\n      0: calibrate a pretrained',
    '--config.loss.alpha=0.5\n      Centers move by this share of their',
    "--config.optimizer.step_boundaries='(0.5, 0.75, 0.9)'\n",
  ):
    assert f'\n  {line}' in printed


def test_a_wrong_config_is_a_sentence_in_place_of_help(helped):
  outcome = helped['train', '--config=mbv3', '--help']
  assert outcome['status'] == 1
  assert outcome['printed'] == ''
  assert (
    "there is no config 'mbv3'; did you mean mbv2_" in outcome['complaints']
  )
  assert ', mobilefacenet_y1_int8, ' in outcome['complaints']


def test_what_is_wrong_with_verify_is_no_answer(helped):
  """Status 1 would say that they are different people."""
  outcome = helped['verify', 'a.jpg']
  assert outcome['status'] == 2
  assert 'IMAGE_B is missing; give IMAGE_A IMAGE_B' in outcome['complaints']
  outcome = helped['verify', 'a.jpg', '--modl=b']
  assert outcome['status'] == 2
  assert outcome['complaints'] == (
    "error: there is no flag 'modl'; did you mean --model?\n"
  )


def test_a_flag_for_the_network_is_model_everywhere():
  for name, module in subcommands.COMMANDS.items():
    path = ROOT.joinpath(*module.split('.'))
    path = path / '__main__.py' if path.is_dir() else path.with_suffix('.py')
    defined = {
      node.args[0].value
      for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.Call)
      and getattr(node.func, 'attr', '').startswith('DEFINE_')
      and node.func.attr != 'DEFINE_alias'
    }
    assert not defined & {'network', 'checkpoint', 'program', 'weights_file'}
    assert ('model' in defined) == (
      name
      not in ('train', 'prepare', 'compare', 'compress', 'report', 'doctor')
    )


def test_the_version_is_printed(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['faceqat', '--version'])
  program.main()
  printed = capsys.readouterr().out
  assert re.fullmatch(
    r'(\d+\.\d+\.\d+|a checkout that is not installed)\n', printed
  )
