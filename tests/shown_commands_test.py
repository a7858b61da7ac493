"""Every command that is shown is one that runs, and a test runs it small."""

import ast
import re
import subprocess

import pytest
import shown_commands
import small_forms
from launch_variables import VARIABLES
from settings import ROOT
from shown_commands import Shown

from faceqat import subcommands

# Where a command is run in a small form: a file of tests/, and a test.
TESTS = {
  'faceqat.main': 'end_to_end_test::'
  'test_one_command_trains_and_ends_with_the_table',
  'faceqat.evaluate': 'end_to_end_test::'
  'test_the_program_alone_has_the_accuracy_of_the_table',
  'faceqat.convert': 'end_to_end_test::'
  'test_the_exported_files_have_the_bits_of_the_table',
  'faceqat.prepare': 'prepare_command_test::'
  'test_the_command_prepares_photographs_on_two_cores',
  'faceqat.identify': 'identification/identify_test::'
  'test_probes_are_answered_with_people_and_images',
  'faceqat.verify': 'verify_test::'
  'test_the_answer_is_a_line_a_status_and_its_numbers',
  'faceqat.embed': 'embed_test::'
  'test_an_array_has_a_row_a_face_and_their_names_beside_it',
  'faceqat.doctor': 'doctor_test::test_it_says_what_is_there',
  'faceqat.compare': 'compare_test::'
  'test_runs_are_compared_with_intervals_on_the_same_pairs',
  'faceqat.assign_bits': 'assign_bits_test::'
  'test_the_command_writes_what_it_prints',
  'faceqat.compress': 'compress_test::test_each_budget_is_a_run_that_fits_it',
  'faceqat.data.drawn.synthetic': 'data/drawn/synthetic_test::'
  'test_contact_sheet_has_a_row_for_each_person',
  'benchmarks.smoke_configs': 'small_forms_test::'
  'test_a_smoke_form_is_trained_lowered_and_exported',
  'benchmarks.package_network': 'calibration/packaged_network_test::'
  'test_what_ships_is_packaged_again_as_it_is',
  'benchmarks.match_rates': 'packaged_rates_test::'
  'test_rates_are_measured_written_and_printed',
  'benchmarks.transfer': 'transfer_test::test_the_command_embeds_each_set_once',
  'benchmarks.abstention': 'abstention_test::'
  'test_the_command_measures_spoilt_faces',
  'benchmarks.cameras': 'cameras_test::test_the_command_tries_every_set',
  'benchmarks.groups': 'groups_test::'
  'test_the_command_draws_halves_and_writes_groups',
  'benchmarks.match_bounds': 'match_bounds_test::'
  'test_the_command_prints_both_tables',
  'examples.browser': 'browser_page_test::'
  'test_the_command_writes_a_folder_that_is_whole',
  'tests.support.browser_page': 'browser_page_test::'
  'test_the_small_form_compares_python_with_itself',
  'examples.overview': 'overview_test::'
  'test_scores_and_decisions_are_those_of_the_integers',
  'benchmarks.camera_forms': 'camera_forms_test::'
  'test_every_form_is_written_and_read_upright',
  'benchmarks.interval_coverage': 'interval_coverage_test::'
  'test_the_small_form_prints_a_row_for_every_figure',
  'benchmarks.seed_spread': 'seed_spread_test::'
  'test_each_seed_is_trained_once_on_its_cores',
  'benchmarks.first_embedding': 'first_embedding_test::'
  'test_a_new_process_embeds_one_image',
  'benchmarks.kills': 'kills_test::'
  'test_a_killed_command_goes_on_to_the_same_bits',
  'benchmarks.check_figures': 'check_figures_test::'
  'test_the_pages_state_the_sizes_of_their_networks',
  'tests.support.tensorflow_training': 'tensorflow_training_test::'
  'test_the_small_form_prints_how_many_values_differ',
  'launch': 'launch_test::test_a_dry_run_prints_the_commands_and_runs_none',
  'small form': 'small_forms_test::test_a_command_runs_in_a_small_form',
}
# Where what is particular in a recipe is trained, with other numbers and on a
# network that compiles quickly: the networks have tests of their own.
CONFIGS = {
  name: test
  for test, names in {
    TESTS['faceqat.main']: (
      *('mbv2_int8', 'mobilefacenet_int8', 'ir50_arcface_int8'),
    ),
    'evaluation/networks_test::test_without_ranges_only_float_is_evaluated': (
      *('mbv2_fp32', 'ir50_arcface'),
    ),
    'evaluation/networks_test::'
    'test_a_network_with_group_norms_is_evaluated_in_float_and_says_why': (
      'resnet50_arcface_gn',
    ),
    'training/loop_test::test_every_objective_trains_and_says_how_far_it_is': (
      *('mbv2_softmax_int8_delayed', 'facenet_nn2_triplet'),
    ),
    'training/loop_test::'
    'test_pretrained_weights_start_a_run_but_do_not_return_to_it': (
      'mobilefacenet_y1_arcface_int8',
    ),
    'training/start_test::test_a_run_without_steps_is_a_calibrated_network': (
      *('mobilefacenet_y1_ptq', 'sface_int8'),
    ),
    'compress_test::test_each_budget_is_a_run_that_fits_it': (
      'mobilefacenet_y1_compress',
    ),
    'calibration/reconstruction_test::'
    'test_integers_are_nearer_to_float_on_unseen_images': (
      'mobilefacenet_y1_w4a8_ptq',
    ),
    'training/start_test::'
    'test_distillation_brings_a_quantized_network_nearer_to_its_teacher': (
      'mobilefacenet_y1_int8',
    ),
    'training/teacher_test::test_a_narrow_network_learns_from_the_whole_one': (
      'mobilefacenet_y1_narrow',
    ),
    'training/teacher_test::'
    'test_a_random_network_comes_nearer_to_its_teacher': (
      'mobilefacenet_sface_int8',
    ),
    'training/start_test::'
    'test_learned_steps_are_trained_and_stand_in_the_table': (
      f'mobilefacenet_y1_{bits}'
      for bits in ('w6a6', 'w4a8', 'w4a4', 'w3a8', 'w2a8', 'narrow_w3a8')
    ),
    'configs_test::test_its_recipe_trains': small_forms.RECIPES,
  }.items()
  for name in names
}
# What stands for something of the reader's, where it has to be of some form.
PLACEHOLDERS = {'CONFIG': 'configs/mbv2_int8.py', 'BYTES': '1000'}
# Programs of others: npm, which installs what an example needs, and those that
# the launch scripts are about; the tests of launch/ run these scripts against
# stand-ins.
FOREIGN = ('docker', 'gcloud', 'scancel', 'id', 'npm', 'sed')
MAIN = ('faceqat.main', '--config=configs/mbv2_int8.py')
# By its file, or by its name.
CONFIG = re.compile(r'--config=(?:configs/(?=\w+\.py))?(\w+)(?=\.py|:| |$)')


@pytest.fixture(scope='module')
def shown():
  found = shown_commands.collect()
  # Of the README, of each folder of pages, of docstrings.
  assert len(found) > 100
  return found


def make_commands(shown) -> list[Shown]:
  """What `make` would run for the targets that are shown."""
  targets = {
    target
    for one in shown
    if one.words[0] == 'make'
    for target in one.words[1:]
  }
  assert {'train', 'test'} <= targets
  printed = subprocess.run(
    ['make', '--dry-run', '--always-make', 'VENV=.venv', *sorted(targets)],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  ).stdout
  return shown_commands.in_page(f'```\n{printed}```', 'Makefile')


def module_of(one: Shown) -> tuple[str, ...] | None:
  """The module that Python runs, and its arguments."""
  program, *words = one.words
  if program.rpartition('/')[2] in ('python', 'python3') and words[0] == '-m':
    program, *words = words[1:]
    if program != 'faceqat':
      return program, *words
  if program == 'faceqat' and words:
    # A name that there is not is left for `faceqat` to refuse.
    module = subcommands.COMMANDS.get(words[0])
    return (module, *words[1:]) if module else (program, *words)
  return ('tensorboard.main', *words) if program == 'tensorboard' else None


def ours(shown) -> dict[tuple[str, ...], Shown]:
  """The commands of faceqat that are shown, each once, and where."""
  commands = {}
  for one in shown:
    module = module_of(one)
    if module is None or module[0].split('.')[0] in ('pip', 'pytest', 'venv'):
      continue
    words = []
    for word in module:
      flag, equals, value = word.rpartition('=')
      words.append(flag + equals + PLACEHOLDERS.get(value, value))
    # Three dots: as many more as there are.
    words = tuple(word for word in words if word != '...')
    commands.setdefault(words, one)
  return commands


def is_test(name: str) -> bool:
  file, _, test = name.partition('::')
  tree = ast.parse((ROOT / 'tests' / f'{file}.py').read_text())
  return test in {
    node.name for node in tree.body if isinstance(node, ast.FunctionDef)
  }


def test_the_tests_that_run_commands_exist():
  names = {*TESTS.values(), *CONFIGS.values()}
  assert [name for name in names if not is_test(name)] == []


def test_a_test_runs_every_command_of_faceqat_in_a_small_form(shown):
  small = {words[0] for words in small_forms.COMMANDS}
  missing = []
  for words, one in ours([*shown, *make_commands(shown)]).items():
    configs = CONFIG.findall(' '.join(words))
    if words[0] not in {*TESTS, *small} or not {*configs} <= {*CONFIGS}:
      missing.append(str(one))
  assert missing == []


# As `faceqat.main` and others refuse.
WRONG = (
  (*MAIN, '--workdir=x', '--config.loss.scal=3'),
  (*MAIN, '--workdir=x', '--config.loss.scale=many'),
  (*MAIN, '--workdir=x', '--resume'),
  MAIN,
  ('faceqat.main', '--config=configs/none.py', '--workdir=x'),
  ('faceqat.main', f'{MAIN[1]}:model=none', '--workdir=x'),
  ('faceqat.compare', 'one'),
  ('faceqat.prepare', 'one'),
  ('faceqat.none', 'one'),
  ('faceqat', 'none'),
  ('tensorboard.main', '--logdirs=x'),
)


@pytest.fixture(scope='module')
def complaints(shown):
  """Of each command, when it reads its flags and does no more; '' is none."""
  commands = [
    *ours([*shown, *make_commands(shown)]),
    *launched(shown),
    *WRONG,
  ]
  outcomes = small_forms.run(commands, runs=False)
  return {
    words: outcome['complaints'] if outcome['status'] else ''
    for words, outcome in zip(commands, outcomes, strict=True)
  }


def test_the_flags_of_every_command_exist(shown, complaints):
  commands = ours([*shown, *make_commands(shown)]) | launched(shown)
  wrong = [
    f'{one}\n{complaints[words]}'
    for words, one in commands.items()
    if complaints[words]
  ]
  assert wrong == []


def test_wrong_flags_are_seen(complaints):
  assert [words for words in WRONG if not complaints[words]] == []
  assert "'scal'" in complaints[WRONG[0]]


def launched(shown) -> dict[tuple[str, ...], Shown]:
  """The trainings that shown launch scripts start."""
  return {
    (
      'faceqat.main',
      f'--config={one.environment["CONFIG"]}',
      '--workdir=x',
      *one.words[1:],
    ): one
    for one in shown
    if one.words[0].startswith('launch/') and 'CONFIG' in one.environment
  }


def test_launch_scripts_are_shown_with_what_they_need(shown):
  scripts = set()
  for one in shown:
    if one.words[0].startswith('launch/'):
      script = one.words[0].removeprefix('launch/')
      assert {*VARIABLES[script]} <= {*one.environment}, one
      scripts.add(script)
  # `stop.sh` is named on its page; it takes what `run.sh` does.
  assert {*VARIABLES} - scripts == {'tpu_vm/stop.sh'}
  assert len(launched(shown)) == 3


def test_what_else_is_shown_is_there(shown):
  """Files and folders of pip and pytest; and programs that nobody knows."""
  made = make_commands(shown)
  for one in [*shown, *made]:
    words = module_of(one) or one.words
    if words[0] in ('pip', 'pytest'):
      for flag, value in zip(words, [*words[1:], '']):
        if flag in ('-r', '--requirement') and value != '/dev/stdin':
          assert (ROOT / value).is_file(), one
        if value.startswith('tests/'):
          assert (ROOT / value).exists(), one
    elif one not in made and not module_of(one) and words[0] != 'make':
      assert words[0].startswith(('launch/', *FOREIGN)), one


def test_every_notebook_is_run():
  assert is_test('notebooks_test::test_every_notebook_is_tested')


PAGE = """
The command `python -m faceqat.main --config=CONFIG` runs; `make` is a program.

```
FLAGS="--a=1 --b='x y'"
for name in one two; do
  python -m benchmarks.$name $FLAGS \\
    --c=2   # a comment
done
X=1 launch/docker/build.sh --dry-run
```

```text
python -m faceqat.not_a_command
```
"""


def test_commands_are_read_as_a_shell_reads_them():
  found = shown_commands.in_page(PAGE, 'page.md')
  assert [(one.line, one.words) for one in found] == [
    *(
      (
        7,
        (
          'python',
          '-m',
          f'benchmarks.{name}',
          '--a=1',
          "--b='x",
          "y'",
          '--c=2',
        ),
      )
      for name in ('one', 'two')
    ),
    (10, ('launch/docker/build.sh', '--dry-run')),
    (2, ('python', '-m', 'faceqat.main', '--config=CONFIG')),
  ]
  assert found[2].environment == {'X': '1'}


def test_output_among_commands_is_refused():
  with pytest.raises(ValueError, match=r'page\.md.*belongs into a block of'):
    shown_commands.in_page('```\nlaunch/docker/none.sh\n```', 'page.md')
