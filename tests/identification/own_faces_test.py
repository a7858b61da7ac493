"""--calibrate: what is read of a user's folder, what is printed and refused."""

import command_line
import numpy as np
import packaged_stand_in
import pytest
from identify_run import SIZE, draw_people, find_drawn, read, run_it
from PIL import Image

from faceqat import convert, evaluate
from faceqat.faces import detection, fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.identification import own_faces
from faceqat.integer import program as integer_program

NAME = packaged_stand_in.NAME


@pytest.fixture(autouse=True)
def _shipped(quantized_run, monkeypatch):
  packaged_stand_in.install(monkeypatch, quantized_run[0])


@pytest.fixture
def dark(tmp_path):
  """18 faces of six people, darker than those that were trained on."""
  folder = draw_people(tmp_path) / 'probes'
  for path in folder.glob('*/*.png'):
    Image.fromarray(read(path) // 8).save(path)
  return folder


def test_convert_writes_the_program_whose_digest_it_prints(
  dark, tmp_path, capsys
):
  (dark / 'someone').mkdir()
  Image.new('RGB', (SIZE, SIZE + 1)).save(dark / 'someone' / 'large.png')
  out, plain = tmp_path / 'out', tmp_path / 'plain'
  flags = {
    'model': NAME,
    'formats': 'program',
    'images': dark / 'person_000000',
  }
  command_line.run(convert, **flags, out=out, calibrate=dark)
  printed = capsys.readouterr().out
  command_line.run(convert, **flags, out=plain)
  assert 'usable faces: 18 (left out: 1, the first one as' in printed
  assert '33x32 pixels' in printed
  assert 'warning: with fewer than 64 faces' in printed
  assert 'Calibrated on 15 images; cosines on 3 others.' in printed
  digests = [
    integer_program.digest(integer_program.load(folder / 'program.safetensors'))
    for folder in (plain, out)
  ]
  rows = [line.split() for line in printed.splitlines()]
  (packaged,) = (row for row in rows if row[:1] == ['packaged'])
  (own,) = (row for row in rows if row[:1] == ['own'])
  assert [packaged[-1], own[-1]] == [digest[:16] for digest in digests]
  assert digests[0] != digests[1]
  assert float(own[1]) > float(packaged[1])
  assert 'the packaged ranges are nearer' not in printed


def test_identify_finds_the_faces_in_photographs_first(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(detection, 'make_detector', find_drawn)
  people = draw_people(tmp_path)
  photographs = people / 'probes'
  Image.new('RGB', (80, SIZE)).save(photographs / 'person_000000' / 'wall.png')
  folders = {'gallery': people / 'gallery', 'probe': photographs}
  flags = {**folders, 'photographs': True, 'k': 1}
  rows = run_it(NAME, tmp_path / 'out', calibrate=photographs, **flags)
  printed = capsys.readouterr().out
  assert 'usable faces: 18 (left out: 1, the first one as wall.png' in printed
  assert 'has no face that the detector finds' in printed
  assert len(rows) == 18


def test_own_ranges_that_are_worse_are_said_to_be(tmp_path, capsys):
  # Every fifth image is held out, and no other one shows anything.
  images = [np.zeros([SIZE, SIZE, 3], np.uint8)] * 18
  rng = np.random.default_rng(0)
  for index in (4, 9, 14):
    images[index] = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
  folder = tmp_path / 'black'
  folder.mkdir()
  for index, image in enumerate(images):
    Image.fromarray(image).save(folder / f'{index:02}.png')
  own_faces.load_network(NAME, 'latest', folder)
  assert 'the packaged ranges are nearer' in capsys.readouterr().out


def test_of_many_images_as_many_are_read_as_are_used(monkeypatch):
  entries = list(range(1000))
  found = own_faces._spread(entries)
  assert len(found) == 320
  assert (found[0], found[-1]) == (0, 999)
  assert set(np.diff(found)) == {3, 4}
  assert own_faces._spread(entries[:7]) == entries[:7]
  assert own_faces._spread([]) == []


@pytest.mark.parametrize('command', [convert, evaluate])
@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('absent', 'absent is no folder; give one of faces of your camera, 64 or'),
    ('empty', 'empty: usable faces: 0, wanted 16 or more: from fewer'),
    ('one', 'one: usable faces: 1, wanted 16 or more'),
    (
      'large',
      r'usable faces: 0 \(left out: 18, the first one as '
      r'.*3\.png has 64x64 pixels, wanted 32x32: cut .* faceqat\.prepare\)',
    ),
    ('other', "other has faces of channels 'BGR', --model is for 'RGB'"),
  ],
)
def test_a_wrong_folder_is_refused_before_anything_is_written(
  command, name, message, tmp_path
):
  folder = tmp_path / name
  if name in ('large', 'other', 'one'):
    (draw_people(tmp_path) / 'probes').rename(folder)
  if name == 'one':
    for path in sorted(folder.glob('*/*.png'))[1:]:
      path.unlink()
  if name == 'large':
    for path in folder.glob('*/*.png'):
      Image.fromarray(read(path).repeat(2, 0).repeat(2, 1)).save(path)
  if name == 'empty':
    folder.mkdir()
  if name == 'other':
    fingerprint.write(Fingerprint('drawn', SIZE, 'BGR'), folder)
  out = tmp_path / 'out'
  with pytest.raises(ValueError, match=message):
    command_line.run(command, model=NAME, out=out, calibrate=folder)
  assert not out.exists()


@pytest.mark.parametrize('command', [convert, evaluate])
def test_a_run_keeps_the_ranges_of_its_training(
  command, quantized_run, tmp_path
):
  message = r'--calibrate=\S+ is for sface_int8, and --model=\S+ has the ranges'
  with pytest.raises(ValueError, match=message):
    command_line.run(
      command, model=quantized_run[0], out=tmp_path, calibrate=tmp_path
    )


def test_floats_have_no_ranges_to_measure(tmp_path):
  with pytest.raises(ValueError, match='of which --precision=float has none'):
    run_it(
      NAME,
      tmp_path,
      gallery=tmp_path,
      probe=tmp_path,
      calibrate=tmp_path,
      precision='float',
    )
