import contextlib
import pathlib
import shutil

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from tiny_run import leaves, make_config

from faceqat.training.checkpoint import Checkpointer, load_network
from faceqat.training.train_state import TrainState

# Where one array cannot be read, Orbax closes its event loop at once, while
# TensorStore still reads others and tells that loop in a thread of its own.
pytestmark = pytest.mark.filterwarnings(
  'ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning'
)

CONFIG = ml_collections.ConfigDict({'seed': 3, 'overrides': {'a/b': {'c': 1}}})


def make_state(step, *, features=4, classes=3):
  """A state whose arrays are all filled with its step."""

  def fill(*shape):
    return jnp.full(shape, step, jnp.float32)

  return TrainState(
    step=jnp.asarray(step, jnp.int32),
    params={
      'backbone': {'stem': {'kernel': fill(3, features)}},
      'classifier': {'weights': fill(features, classes)},
    },
    batch_stats={'stem': {'mean': fill(features)}},
    quant_stats={'stem': {'range': fill()}},
    objective_state={'centers': fill(classes, features)},
    penalty_coefficient=fill(),
    opt_state=(fill(features), {'count': jnp.asarray(step, jnp.int32)}),
  )


@contextlib.contextmanager
def opened(workdir, **options):
  with contextlib.closing(Checkpointer(workdir, **options)) as checkpointer:
    yield checkpointer


def save(workdir, scores):
  """Saves one checkpoint a score, at steps 1, 2, ..."""
  with opened(workdir) as checkpointer:
    for step, score in enumerate(scores, start=1):
      checkpointer.save(make_state(step), {'at': step}, CONFIG, score=score)


def kept(workdir):
  return sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())


@pytest.mark.parametrize(
  ('scores', 'steps', 'best'),
  [
    ([0.6, 0.9, 0.7, 0.8], [2, 3, 4], 2),
    ([0.6, 0.7, 0.8, 0.9], [3, 4], 4),
    # No candidate: saved when stopped, or while the network was float.
    ([None, 0.5, None, None], [2, 3, 4], 2),
    ([0.1, None, None], [1, 2, 3], 1),
  ],
)
def test_the_latest_two_and_the_best_are_kept(scores, steps, best, tmp_path):
  save(tmp_path, scores)
  assert kept(tmp_path) == steps
  with opened(tmp_path) as checkpointer:
    assert checkpointer.latest_step == len(scores)
    assert checkpointer.find('latest') == len(scores)
    assert checkpointer.find('best') == best
    assert checkpointer.find(str(best)) == best
    assert checkpointer.find(best) == best
    # A later run of the same folder keeps it too.
    checkpointer.save(make_state(9), {}, CONFIG, score=0.0)
  assert kept(tmp_path) == sorted({best, len(scores), 9})


def test_what_is_read_is_what_was_saved(tmp_path):
  save(tmp_path, [0.5, 0.25])
  with opened(tmp_path, create=False) as checkpointer:
    state, position = (
      checkpointer.restore(1, make_state(0)),
      checkpointer.position(1),
    )
    variables = checkpointer.restore_variables(2, make_state(0).variables)
    config = checkpointer.config(1)
  assert position == {'at': 1}
  assert config.to_dict() == CONFIG.to_dict()
  for tree, wanted in (
    (state, make_state(1)),
    (variables, make_state(2).variables),
  ):
    read, wanted = leaves(tree), leaves(wanted)
    assert read.keys() == wanted.keys()
    for name in wanted:
      assert read[name].dtype == wanted[name].dtype, name
      np.testing.assert_array_equal(read[name], wanted[name])


def test_a_step_is_saved_once(tmp_path):
  with opened(tmp_path) as checkpointer:
    checkpointer.save(make_state(1), {'at': 1}, CONFIG, score=0.5)
    # As when a run is stopped at a step that was just saved.
    checkpointer.save(make_state(1), {'at': 2}, CONFIG)
    assert checkpointer.find('best') == 1
  with opened(tmp_path) as checkpointer:
    assert checkpointer.position(1) == {'at': 1}


@pytest.mark.parametrize(
  ('other', 'message'),
  [
    (
      {'features': 5},
      r'batch_stats/stem/mean is \(4,\) there and \(5,\) by this config',
    ),
    (
      {'classes': 7},
      r'classifier/weights is \(4, 3\) there and \(4, 7\) by this config',
    ),
  ],
)
def test_another_model_is_named_by_its_first_array(other, message, tmp_path):
  save(tmp_path, [0.5])
  with opened(tmp_path) as checkpointer:
    folder = tmp_path / 'checkpoints' / '1'
    with pytest.raises(ValueError, match=message) as raised:
      checkpointer.restore(1, make_state(0, **other))
  assert str(raised.value).startswith(
    f'{folder} is a checkpoint of another model: '
  )
  assert 'another --workdir' in str(raised.value)


def test_an_array_too_many_is_named(tmp_path):
  save(tmp_path, [0.5])
  wanted = make_state(0)
  wanted.batch_stats['stem']['var'] = jnp.ones(4)
  with (
    opened(tmp_path) as checkpointer,
    pytest.raises(ValueError, match=r'stem/var is absent there and \(4,\)'),
  ):
    checkpointer.restore_variables(1, wanted.variables)


@pytest.mark.parametrize('which', ['3', 3, True, 'newest', '-1', ''])
def test_an_unknown_checkpoint_is_refused_with_those_there_are(which, tmp_path):
  save(tmp_path, [0.9, 0.5])
  with (
    opened(tmp_path) as checkpointer,
    pytest.raises(ValueError, match=f'no checkpoint {which!r}; .* 1, 2'),
  ):
    checkpointer.find(which)


def test_a_folder_without_checkpoints_is_refused_and_left_empty(tmp_path):
  with pytest.raises(ValueError, match='holds no checkpoints; give the'):
    load_network(tmp_path)
  assert not list(tmp_path.iterdir())
  with pytest.raises(ValueError, match='nowhere does not exist; give the'):
    load_network(tmp_path / 'nowhere')
  with pytest.raises(ValueError, match=r'checkpoint_test\.py is a file; give'):
    load_network(__file__)
  with opened(tmp_path) as checkpointer:
    assert checkpointer.latest_step is None
    with pytest.raises(ValueError, match="'latest'; there are none"):
      checkpointer.find('latest')


def test_a_save_that_was_cut_off_is_no_checkpoint(tmp_path):
  save(tmp_path, [0.5])
  unfinished = tmp_path / 'checkpoints' / '2.orbax-checkpoint-tmp'
  unfinished.mkdir()
  (unfinished / 'variables').write_bytes(b'half')
  with opened(tmp_path) as checkpointer:
    assert checkpointer.latest_step == 1
    assert checkpointer.position(1) == {'at': 1}


def saved_elsewhere(root, scores):
  """As of another process: TensorStore remembers what it wrote where."""
  save(root / 'here', scores)
  shutil.copytree(root / 'here', root / 'there')
  return root / 'there'


def corrupt(folder, part):
  """Empties a file, or flips bits in each file of a part that has values."""
  path = folder / part
  if path.is_file():
    path.write_bytes(b'')
    return
  # Orbax's own notes beside them are not all read.
  notes = ('_METADATA', 'commit_success.txt')
  for file in path.rglob('*'):
    if file.is_file() and file.name not in notes:
      content = bytearray(file.read_bytes())
      # All over it: not every byte of a file is read.
      content[::8] = bytes(byte ^ 1 for byte in content[::8])
      file.write_bytes(content)


@pytest.mark.parametrize(
  'part',
  [
    'variables',
    'training',
    'data',
    'config',
    'digests',
    'config/metadata',
    'metrics/metrics',
    'training/_METADATA',
    'variables/_METADATA',
    'variables/manifest.ocdbt',
  ],
)
def test_a_damaged_checkpoint_is_named_with_the_one_before(part, tmp_path):
  workdir = saved_elsewhere(tmp_path, [0.5, 0.25])
  folder = workdir / 'checkpoints' / '2'
  corrupt(folder, part)

  def read():
    with opened(workdir) as checkpointer:
      checkpointer.config(2)
      checkpointer.position(2)
      checkpointer.restore(2, make_state(0))

  with pytest.raises(ValueError, match='is damaged') as raised:
    read()
  assert str(raised.value).startswith(f'{folder} is damaged (')
  assert 'remove that folder to go on from step 1' in str(raised.value)
  # As advised.
  shutil.rmtree(folder)
  with opened(workdir) as checkpointer:
    assert checkpointer.latest_step == 1
    assert checkpointer.position(1) == {'at': 1}


def test_the_only_checkpoint_has_no_other_beside_it(tmp_path):
  workdir = saved_elsewhere(tmp_path, [0.5])
  corrupt(workdir / 'checkpoints' / '1', 'variables')
  with (
    opened(workdir) as checkpointer,
    pytest.raises(ValueError, match='there is no other; start anew'),
  ):
    checkpointer.restore_variables(1, make_state(0).variables)


def test_a_checkpoint_from_before_the_digests_is_read(tmp_path):
  save(tmp_path, [0.5])
  shutil.rmtree(tmp_path / 'checkpoints' / '1' / 'digests')
  with opened(tmp_path) as checkpointer:
    assert checkpointer.config(1).to_dict() == CONFIG.to_dict()
    assert checkpointer.position(1) == {'at': 1}


def test_a_run_folder_is_all_that_a_network_needs(quantized_run, monkeypatch):
  workdir, _ = quantized_run
  monkeypatch.chdir(workdir.parent)
  network = load_network(pathlib.Path(workdir.name))
  assert network.step == 10
  # The run adds for which faces it is.
  assert set(network.config) == {*make_config(), 'fingerprint'}
  assert network.config.quant.overrides.embedding.symmetric
  assert network.model.embedding_size == 16
  best = load_network(str(workdir), 'best')
  # Steps 1 to 4 are float: their checkpoints are no candidates.
  assert best.step in (6, 9, 10)
