"""How faces are aligned: from a data set to the files that are shipped."""

import contextlib
import dataclasses
import json

import jax
import numpy as np
import onnx
import pytest
from aligned_faces import ARCFACE, MARGIN, SIZE, write_faces, write_pairs
from tiny_run import make_config

from faceqat.calibration.lower import lower
from faceqat.calibration.older_configs import with_added_fields
from faceqat.data import datasets, stated_faces
from faceqat.evaluation import networks
from faceqat.export import formats, tflite_builder
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.integer import program as integer_program
from faceqat.training.checkpoint import (
  Checkpointer,
  latest_config,
  load_network,
)
from faceqat.training.loop import train
from faceqat.training.resume import read_saved
from faceqat.training.start import with_fingerprint


def smoke(path='', **changes):
  """A run without a training step: the calibration alone."""
  config = make_config(total_steps=0, **changes)
  config.quant.update(start_step=0, freeze_bn_step=0)
  config.data.path = str(path)
  return config


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
  """A folder set of the ArcFace template."""
  return write_faces(tmp_path_factory.mktemp('sets') / 'faces', ARCFACE)


@pytest.fixture(scope='module')
def run(faces, tmp_path_factory):
  """The folder of a run on it."""
  workdir = tmp_path_factory.mktemp('aligned_run')
  train(smoke(faces), str(workdir), jax.devices()[:1])
  return workdir


def start(config, workdir):
  with contextlib.closing(Checkpointer(str(workdir))) as checkpointer:
    return with_fingerprint(config, read_saved(checkpointer))


# The file.


@pytest.mark.parametrize(
  ('name', 'file'),
  [
    ('faces', 'faces/faces.json'),
    ('a.b', 'a.b/faces.json'),
    ('train.rec', 'train.faces.json'),
    ('lfw.bin', 'lfw.faces.json'),
    ('x.y.array_record', 'x.y.faces.json'),
  ],
)
def test_a_fingerprint_lies_in_the_folder_or_beside_the_pack(
  name, file, tmp_path
):
  faces = Fingerprint('mine', 160, 'BGR')
  if file.startswith(f'{name}/'):
    (tmp_path / name).mkdir()
  assert fingerprint.read(tmp_path / name) is None
  fingerprint.write(faces, tmp_path / name)
  assert json.loads((tmp_path / file).read_text()) == {
    'template': 'mine',
    'size': 160,
    'channels': 'BGR',
    'normalization': 'uint8',
  }
  assert fingerprint.read(tmp_path / name) == faces


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('', 'Expecting value'),
    ('\udcff', 'utf-8'),
    ('[' * 99_999, ''),
    ('"arcface"', 'wanted an object of template, size, channels, normalizat'),
    ({'template': None}, 'template is None, wanted a name'),
    ({'template': 'a\nb'}, 'template is .*, wanted a name'),
    ({'size': True}, 'size is True, wanted a number of pixels'),
    ({'size': 0}, 'size is 0'),
    ({'channels': 'rgb'}, "channels is 'rgb'; choose one of RGB, BGR"),
    ({'normalization': ''}, 'normalization is'),
  ],
)
def test_a_damaged_fingerprint_is_named(content, message, tmp_path):
  if isinstance(content, dict):
    content = json.dumps({**dataclasses.asdict(ARCFACE), **content})
  path = tmp_path / 'faces.json'
  path.write_bytes(content.encode('utf-8', 'surrogateescape'))
  with pytest.raises(ValueError, match=f'{path} is no fingerprint.*{message}'):
    fingerprint.read(tmp_path)
  del (fields := dataclasses.asdict(ARCFACE))['size']
  path.write_text(json.dumps(fields))
  with pytest.raises(ValueError, match='it does not say size; correct it'):
    fingerprint.read(tmp_path)


# The comparison.


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'template': 'margin_32'}, "of template 'margin_32', b is for 'arcface'"),
    ({'channels': 'BGR'}, "of channels 'BGR', b is for 'RGB'"),
    ({'normalization': 'float'}, "of normalization 'float', b is for 'uint8'"),
  ],
)
def test_faces_that_differ_are_refused_with_the_remedy(change, message):
  other = dataclasses.replace(ARCFACE, **change)
  with pytest.raises(ValueError, match=f'^a has faces {message}.*prepare.*jso'):
    fingerprint.check(other, ARCFACE, 'a', 'b')
  (name,) = change
  flag = f'or give --config.eval.fingerprint.{name}={getattr(ARCFACE, name)}'
  with pytest.raises(ValueError, match=flag):
    fingerprint.check(other, ARCFACE, 'a', 'b', field='eval.fingerprint')


@pytest.mark.parametrize(
  'other',
  [
    None,
    Fingerprint('unknown', SIZE),
    Fingerprint('drawn', SIZE),
    Fingerprint('arcface', 160),
  ],
)
def test_what_cannot_be_compared_is_taken_as_it_is(other):
  fingerprint.check(other, ARCFACE, 'a', 'b')
  fingerprint.check(ARCFACE, other, 'a', 'b')
  told = other is not None and other.template != 'unknown'
  assert fingerprint.is_stated(other) == told


def test_metadata_says_it_but_that_of_older_files_is_not_believed():
  for faces in (ARCFACE, Fingerprint('mine', 160, 'BGR')):
    metadata = {'model': 'tiny', **fingerprint.to_metadata(faces)}
    assert fingerprint.of_metadata(metadata) == faces
  # Older programs said so whatever they were trained on.
  old = {'channel_order': 'RGB', 'alignment': 'arcface_112'}
  assert fingerprint.of_metadata(old) is None
  assert fingerprint.of_metadata({}) is None
  with pytest.raises(ValueError, match=r'KeyError: .*image_size.* export'):
    fingerprint.of_metadata({'alignment': 'arcface'})


# Sources.


def test_images_that_are_bgr_are_read_as_rgb(tmp_path):
  plain = write_faces(tmp_path / 'plain', None, people=4)
  config = make_config().data
  config.update(path=str(plain), validation_people=0)
  before = datasets.make_training_data(config)
  fingerprint.write(Fingerprint('arcface', SIZE, 'BGR'), plain)
  after = datasets.make_training_data(config)
  for one, other in zip(before[:2], after[:2]):
    assert len(one) == len(other)
    assert one.class_names == other.class_names
    np.testing.assert_array_equal(one.labels, other.labels)
    for index in range(len(one)):
      assert one.name(index) == other.name(index)
      np.testing.assert_array_equal(
        one[index]['image'][..., ::-1], other[index]['image']
      )
      assert one[index]['label'] == other[index]['label']
  # What is read is RGB, whatever lies there.
  assert stated_faces.training_fingerprint(config) == ARCFACE


def test_pairs_that_are_bgr_are_read_as_rgb(tmp_path):
  config = make_config().eval
  config.path = str(write_pairs(tmp_path / 'a.bin', None))
  reds = {}
  for channels in ('', 'BGR', 'RGB'):
    config.fingerprint.channels = channels
    pairs = datasets.make_evaluation_pairs(config, image_size=SIZE)
    assert len(pairs.images) == 20
    reds[channels] = [image[..., 0].mean() for image in pairs.images]
  assert max(reds['']) < 9
  assert reds['RGB'] == reds['']
  assert min(reds['BGR']) > 199
  fingerprint.write(Fingerprint('arcface', SIZE, 'BGR'), config.path)
  config.fingerprint.channels = ''
  image = datasets.make_evaluation_pairs(config, image_size=SIZE).images[0]
  assert image[..., 0].mean() == reds['BGR'][0]
  # The user's word goes before the file's.
  config.fingerprint.channels = 'RGB'
  image = datasets.make_evaluation_pairs(config, image_size=SIZE).images[0]
  assert image[..., 0].mean() == reds[''][0]


def test_every_evaluation_set_is_compared(tmp_path):
  config = make_config().eval
  paths = [
    write_pairs(tmp_path / f'{name}.bin', faces)
    for name, faces in (('a', ARCFACE), ('b', None), ('c', MARGIN))
  ]

  def check(wanted):
    return stated_faces.check_evaluation(config, wanted, 'net', image_size=SIZE)

  # Drawn faces say nothing of a network for others.
  (note,) = check(ARCFACE)
  assert note.startswith("WARNING: net was trained on faces of template 'arcf")
  assert check(None) == check(Fingerprint('drawn', SIZE)) == []
  config.path = f'{paths[0]},{paths[1]}'
  (note,) = check(ARCFACE)
  assert note.startswith(f'{paths[1]} does not say how its faces are aligned')
  assert [note.split()[0] for note in check(None)] == ['net', str(paths[1])]
  config.path = f'{paths[0]},{paths[2]}'
  with pytest.raises(ValueError, match=f"^{paths[2]} .* net is for 'arcface'"):
    check(ARCFACE)
  # One that is wrong, or missing, is put right for all of them.
  config.fingerprint.template = 'arcface'
  assert check(ARCFACE) == []
  # What is aligned here is for networks of that alignment.
  config.update(path='', templates='ijbc')
  assert len(check(ARCFACE)) == 1
  with pytest.raises(
    ValueError, match=r"ijbc can be .* net is for 'margin_32': "
  ):
    check(MARGIN)


def test_a_wrong_word_of_the_user_is_refused(tmp_path):
  config = make_config().eval
  config.path = str(write_pairs(tmp_path / 'a.bin', None))
  config.fingerprint.channels = 'rgb'
  with pytest.raises(ValueError, match="is 'rgb'; choose one of RGB, BGR"):
    datasets.make_evaluation_pairs(config, image_size=SIZE)


# From a data set to the shipped file.


def test_the_fingerprint_goes_the_whole_way(run, tmp_path):
  assert fingerprint.of_run(latest_config(run)[0]) == ARCFACE
  program = lower(load_network(str(run)))
  assert fingerprint.of_metadata(program.metadata) == ARCFACE
  integer_program.save(program, tmp_path / 'program.safetensors')
  loaded = integer_program.load(tmp_path / 'program.safetensors')
  assert fingerprint.of_metadata(loaded.metadata) == ARCFACE
  content = formats.FORMATS['tflite'].to_bytes(program)
  metadata = tflite_builder.read_metadata(content)
  assert fingerprint.of_metadata(metadata) == ARCFACE
  for name in ('onnx', 'onnx_qdq'):
    model = onnx.load_from_string(formats.FORMATS[name].to_bytes(program))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert fingerprint.of_metadata(metadata) == ARCFACE, name


def test_a_run_on_other_faces_than_it_starts_from_is_refused(
  run, faces, tmp_path
):
  others = write_faces(tmp_path / 'others', MARGIN, people=2)
  message = (
    f"^{others} has faces of template 'margin_32', {{}} is for 'arcface'"
    '.*--config.data.fingerprint.template=arcface'
  )
  config = smoke(others)
  config.pretrained = str(run)
  with pytest.raises(ValueError, match=message.format(run)):
    start(config, tmp_path / 'new')
  # InsightFace's own weights are for its own template.
  config.pretrained = 'y1.params'
  with pytest.raises(ValueError, match=message.format('y1.params')):
    start(config, tmp_path / 'new')
  # And a run is not continued on others.
  config.pretrained = ''
  with pytest.raises(ValueError, match=message.format(run)):
    start(config, run)
  config.data.fingerprint.template = 'arcface'
  for config.pretrained in (str(run), 'y1.params', 'net.pth', ''):
    assert start(config, tmp_path / 'new').fingerprint.template == 'arcface'


def test_pairs_of_other_faces_are_refused_before_the_training(
  run, faces, tmp_path
):
  pairs = write_pairs(tmp_path / 'a.bin', MARGIN)
  config = smoke(faces)
  config.eval.path = str(pairs)
  message = (
    f"^{pairs} has faces of template 'margin_32', {{}} is for 'arcface'"
    '.*--config.eval.fingerprint.template=arcface'
  )
  with pytest.raises(ValueError, match=message.format('this training')):
    train(config, str(tmp_path / 'new'), jax.devices()[:1])
  # And where a network or a program meets them later.
  network = load_network(str(run))
  out = tmp_path / 'out'
  with pytest.raises(ValueError, match=message.format('the network')):
    networks.evaluate_network(network, str(out), config)
  path = str(tmp_path / 'program.safetensors')
  integer_program.save(lower(network), path)
  with pytest.raises(ValueError, match=message.format(path)):
    networks.evaluate_program(path, config, str(out))
  assert not out.exists()


def test_what_says_nothing_is_taken_as_it_is_and_that_is_said_once(
  run, tmp_path, capsys
):
  others = write_faces(tmp_path / 'others', None, people=2)
  unsaid = f'{others} does not say how its faces are aligned'
  config = start(smoke(others), tmp_path / 'new')
  assert fingerprint.of_run(config) == Fingerprint('unknown', SIZE)
  assert capsys.readouterr().out.count(unsaid) == 1
  # Where the run starts from another, it stays for what that one is for.
  config = smoke(others)
  config.pretrained = str(run)
  assert fingerprint.of_run(start(config, tmp_path / 'new')) == ARCFACE
  assert capsys.readouterr().out.count(unsaid) == 1
  config.data.path = ''
  assert fingerprint.of_run(start(config, tmp_path / 'new')) == ARCFACE
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith(f'WARNING: {run} was trained on faces of template ')
  assert "data.path='' has drawn faces" in line


def test_runs_from_before_there_were_fingerprints_are_read(run, tmp_path):
  network = load_network(str(run))
  config = network.config.copy_and_resolve_references()
  del config.fingerprint, config.data.fingerprint, config.eval.fingerprint
  # As the config of a checkpoint is read.
  config = with_added_fields(config)
  old = network._replace(config=config)
  assert fingerprint.of_run(config) is None
  metadata = lower(old).metadata
  assert fingerprint.of_metadata(metadata) == Fingerprint('unknown', SIZE)
  assert stated_faces.training_fingerprint(config.data) == ARCFACE
  config.eval.path = str(write_pairs(tmp_path / 'a.bin', MARGIN))
  (note,) = stated_faces.check_evaluation(
    config.eval, fingerprint.of_run(config), 'net', image_size=SIZE
  )
  assert note.startswith('net does not say')
  pairs = datasets.make_evaluation_pairs(config.eval, image_size=SIZE)
  assert len(pairs) == 10
