import csv
import shutil

import ml_collections
import numpy as np
import pytest
from identify_run import SIZE, find_drawn, read, table_of
from PIL import Image

from faceqat.faces import detection, fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.identification import embedders, gallery

pytest_plugins = ['identify_fixtures']


def test_a_file_needs_a_config_to_know_whom_it_was_not_trained_on(
  quantized_run, ask, tmp_path, capsys
):
  with pytest.raises(ValueError, match='does not say on whom it was trained'):
    ask(tmp_path / 'out', held_out=2)
  network = embedders.load(quantized_run[0], 'float').network
  config = ml_collections.ConfigDict(network.config.to_dict())
  found = ask(tmp_path / 'a', held_out=2, config=config)
  own = ask(tmp_path / 'b', quantized_run[0], held_out=2)
  assert found == own
  # Drawn faces are what it was trained on.
  assert 'WARNING' not in capsys.readouterr().out
  with pytest.raises(ValueError, match='give 2 or more images a person'):
    ask(tmp_path / 'out', quantized_run[0], held_out=1)
  config.data.validation_people = 0
  with pytest.raises(ValueError, match='nobody was kept out'):
    ask(tmp_path / 'out', held_out=2, config=config)
  assert not (tmp_path / 'out').exists()


def test_faces_of_another_alignment_are_refused(people, ask, tmp_path):
  for part in ('gallery', 'probes'):
    shutil.copytree(people / part, tmp_path / part)
  fingerprint.write(Fingerprint('arcface', SIZE), tmp_path / 'gallery')
  flags = {'gallery': tmp_path / 'gallery', 'probe': tmp_path / 'probes'}
  saved = tmp_path / 'people.safetensors'
  ask(tmp_path / 'a', save_gallery=saved, **flags)
  assert gallery.load(saved).maker.fingerprint.template == 'arcface'
  fingerprint.write(Fingerprint('margin_32', SIZE), tmp_path / 'probes')
  for made in (tmp_path / 'gallery', saved):
    flags['gallery'] = made
    with pytest.raises(ValueError, match=r"probes has faces of template 'marg"):
      ask(tmp_path / 'b', **flags)
  assert not (tmp_path / 'b').exists()


def test_what_cannot_be_used_is_listed_and_the_rest_goes_on(
  people, ask, tmp_path, capsys
):
  for part in ('gallery', 'probes'):
    shutil.copytree(people / part, tmp_path / part)
  ann = tmp_path / 'probes' / 'person_000000'
  (ann / '3.png').write_bytes(b'no image')
  Image.new('RGB', (40, 40)).save(ann / '4.png')
  (tmp_path / 'gallery' / 'person_000001' / 'notes.txt').write_text('x')
  (tmp_path / 'gallery' / 'nobody').mkdir()
  (tmp_path / 'gallery' / 'gone').symlink_to('/nowhere/gone')
  out = tmp_path / 'out'
  flags = {'gallery': tmp_path / 'gallery', 'probe': tmp_path / 'probes'}
  rows = ask(out, **flags)
  assert len(rows) == 16 * 5
  with (out / 'left_out.csv').open(newline='') as file:
    listed = {row['image']: row['reason'] for row in csv.DictReader(file)}
  assert listed.keys() == {
    'gone',
    'person_000001/notes.txt',
    'person_000000/3.png',
    'person_000000/4.png',
  }
  assert 'cannot be decoded' in listed['person_000000/3.png']
  assert '40x40 pixels, wanted 32x32: align' in listed['person_000000/4.png']
  assert 'no image file' in listed['person_000001/notes.txt']
  printed = capsys.readouterr().out
  assert all(name in printed for name in listed)
  # These faces are drawn, but nothing says so.
  (warning,) = (line for line in printed.splitlines() if 'WARNING' in line)
  assert warning.startswith(
    f'WARNING: --model was trained on drawn faces, and {tmp_path / "gallery"} '
  )
  assert table_of(printed)['people'] == '6'
  # A later run that lacks nothing takes the list away.
  ask(out)
  assert not (out / 'left_out.csv').exists()


def test_crops_of_another_size_are_resized_when_that_is_said(
  people, ask, tmp_path
):
  for path in (people / 'probes').rglob('*.png'):
    target = tmp_path / 'large' / path.relative_to(people / 'probes')
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(read(path)).resize((64, 64)).save(target)
  flags = {'gallery': tmp_path / 'large', 'probe': tmp_path / 'large'}
  with pytest.raises(
    ValueError,
    match=r'gallery is empty: 18 were left out, .*64x64 pixels, wanted 32x32',
  ):
    ask(tmp_path / 'out', **flags)
  assert not (tmp_path / 'out').exists()
  assert ask(tmp_path / 'out', stored_size=64, **flags)


def make_empty(root):
  (root / 'gallery').mkdir()


def make_loose(root):
  (root / 'gallery').mkdir()
  Image.new('RGB', (SIZE, SIZE)).save(root / 'gallery' / 'face.png')


def make_unknown(root):
  (root / 'gallery' / 'unknown').mkdir(parents=True)
  Image.new('RGB', (SIZE, SIZE)).save(root / 'gallery' / 'unknown' / 'a.png')


@pytest.mark.parametrize(
  ('make', 'changes', 'message'),
  [
    (make_empty, {}, r'--gallery=.*gallery has no image; give .* person/imag'),
    (make_loose, {}, r'face\.png lies beside the people'),
    (make_unknown, {}, "person of the gallery is called 'unknown'"),
    (None, {}, 'is no folder; give one that holds a folder of images'),
    (None, {'held_out': 5}, '--held_out takes its own'),
    (make_unknown, {'probe': 'none'}, '--probe: none does not exist; give an'),
  ],
)
def test_wrong_folders_leave_nothing(make, changes, message, ask, tmp_path):
  if make:
    make(tmp_path)
  flags = {'gallery': tmp_path / 'gallery', **changes}
  with pytest.raises(ValueError, match=message):
    ask(tmp_path / 'out', **flags)
  assert not (tmp_path / 'out').exists()


def test_no_network_is_loaded_for_nothing(ask, tmp_path, monkeypatch):
  monkeypatch.setattr(embedders, 'load', None)
  make_loose(tmp_path)
  with pytest.raises(ValueError, match=r'--gallery: .*face\.png lies beside'):
    ask(tmp_path / 'out', gallery=tmp_path / 'gallery')


def test_faces_of_photographs_are_found_first(
  people, ask, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(detection, 'make_detector', find_drawn)
  probes = tmp_path / 'probes'
  probes.mkdir()
  pair = [
    read(people / 'probes' / name / '3.png')
    for name in ('person_000000', 'person_000001')
  ]
  Image.fromarray(np.concatenate(pair, axis=1)).save(probes / 'two.png')
  Image.new('RGB', (50, 50)).save(probes / 'wall.tif')
  flags = {'gallery': people / 'gallery', 'probe': probes, 'photographs': True}
  saved = tmp_path / 'people.safetensors'
  out = tmp_path / 'out'
  rows = ask(out, faces='all', save_gallery=saved, k=1, **flags)
  assert [row['probe'] for row in rows] == ['two.png', 'two.png#2']
  # Where neither network nor photographs say how, they are aligned as usual.
  assert gallery.load(saved).maker.fingerprint == Fingerprint('arcface', SIZE)
  assert 'wall.tif has no face that the detector finds' in (
    capsys.readouterr().out
  )
  assert 'wall.tif' in (out / 'left_out.csv').read_text()
  rows = ask(out, k=1, **flags)
  assert [row['probe'] for row in rows] == ['two.png']


def test_a_face_that_is_turned_away_has_no_name(
  people, ask, tmp_path, monkeypatch, capsys
):
  def find_turned(image):
    """The second of two faces shows a profile."""
    faces = find_drawn()(image)
    for face in faces[1:]:
      face.landmarks[2, 0] += 9
    return faces

  monkeypatch.setattr(detection, 'make_detector', lambda path: find_turned)
  probes = tmp_path / 'probes'
  probes.mkdir()
  face = read(people / 'probes' / 'person_000000' / '3.png')
  Image.fromarray(np.tile(face, (1, 2, 1))).save(probes / 'two.png')
  flags = {'gallery': people / 'gallery', 'probe': probes, 'photographs': True}
  flags |= {'faces': 'all', 'k': 2, 'least_sharpness': 0.0}
  rows = ask(tmp_path / 'out', **flags)
  assert [row['not_usable'][:9] for row in rows] == ['', '', *['turned by'] * 2]
  assert [row['accepted'] for row in rows] == ['', '', 'false', 'false']
  for first, second in (rows[:2], rows[2:]):
    margin = float(first['score']) - float(second['score'])
    assert float(first['margin']) == pytest.approx(margin, abs=2e-9)
    assert second['margin'] == ''
  text = (tmp_path / 'out' / 'predictions.txt').read_text().splitlines()
  assert [line.split()[1] == 'unknown' for line in text] == [False, True]
  printed = capsys.readouterr().out
  assert 'two.png#2: not usable: turned by ' in printed
  assert table_of(printed)['not usable %'] == '50.00'
  # Whoever wants a name for it all the same has one.
  rows = ask(tmp_path / 'out', **flags, most_turn=180.0)
  assert {row['not_usable'] for row in rows} == {''}


def test_several_people_in_a_photograph_are_said(
  people, ask, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(detection, 'make_detector', find_drawn)
  faces = read(people / 'probes' / 'person_000000' / '3.png')
  for part in ('gallery', 'probes'):
    folder = tmp_path / part / 'Ann'
    folder.mkdir(parents=True)
    Image.fromarray(np.tile(faces, (1, 2, 1))).save(folder / 'two.png')
    Image.fromarray(faces).save(folder / 'one.png')
  flags = {'photographs': True, 'k': 1}
  flags |= {part.rstrip('s'): tmp_path / part for part in ('gallery', 'probes')}
  ask(tmp_path / 'out', **flags)
  enrolled, asked = (
    line
    for line in capsys.readouterr().out.splitlines()
    if 'several faces of similar size (in 1 photographs in all)' in line
  )
  assert f'in {tmp_path / "gallery" / "Ann" / "two.png"} there' in enrolled
  assert enrolled.endswith('one was enrolled; crop it to that person')
  assert f'in {tmp_path / "probes" / "Ann" / "two.png"} there' in asked
  assert asked.endswith('one was asked for; --faces=all asks for each')
  ask(tmp_path / 'out', faces='all', **flags)
  printed = capsys.readouterr().out
  assert 'asked for' not in printed
  assert 'one was enrolled' in printed
