import os

import numpy as np
import pytest
from identify_run import (
  SIZE,
  draw_people,
  find_drawn,
  read,
)
from PIL import Image

from faceqat.faces import detection
from faceqat.identification import face_files


def test_photographs_are_aligned_as_the_network_was_trained(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(detection, 'make_detector', find_drawn)
  path = draw_people(tmp_path) / 'probes' / 'person_000000' / '3.png'
  image = read(path)
  make = face_files.make_photograph_reader
  (face,) = make('arcface', 'largest', SIZE)(path)
  # The points are those of the template, but for a tenth of a pixel.
  assert np.mean(np.abs(face.astype(int) - image)) < 3
  (turned,) = make('arcface', 'largest', SIZE, bgr=True)(path)
  np.testing.assert_array_equal(turned, face[:, :, ::-1])
  (small,) = make('arcface', 'largest', 16, stored_size=SIZE)(path)
  expected = Image.fromarray(face).resize((16, 16), Image.Resampling.BILINEAR)
  np.testing.assert_array_equal(small, np.asarray(expected))
  (margin,) = make('margin_32', 'largest', 160)(path)
  assert margin.shape == (160, 160, 3)
  (narrow,) = make('sphereface', 'largest', (28, 24))(path)
  square = make('arcface', 'largest', 28)(path)[0][:, 2:-2].astype(int)
  assert np.mean(np.abs(narrow - square)) < 1
  with pytest.raises(ValueError, match='--photographs: a crop of 28x24 pixels'):
    make('arcface', 'largest', (28, 24))
  with pytest.raises(ValueError, match="aligned as 'mine', which is not one"):
    make('mine', 'largest', SIZE)


def save_face(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', (SIZE, SIZE), 'red').save(path)


def test_people_are_listed_in_order_and_read_when_asked(tmp_path):
  for name in ('Bob/2.jpg', 'Ann/1.PNG', 'Bob/1.png', 'Ann/.hidden.png'):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'read by nobody yet')
  save_face(tmp_path / 'Bob' / '1.png')
  (tmp_path / 'faces.json').write_text('{}')
  (tmp_path / 'Ann' / 'more').mkdir()
  reader = face_files.make_crop_reader(SIZE, 0)
  entries, left_out = face_files.list_people(tmp_path, reader)
  assert [(entry.name, entry.person) for entry in entries] == [
    ('Ann/1.PNG', 'Ann'),
    ('Bob/1.png', 'Bob'),
    ('Bob/2.jpg', 'Bob'),
  ]
  assert [name for name, _ in left_out] == ['Ann/more']
  (face,) = entries[1].read()
  assert face.shape == (SIZE, SIZE, 3)
  with pytest.raises(ValueError, match=r'2\.jpg cannot be decoded'):
    entries[2].read()


def test_probes_may_lie_in_folders_of_people_or_not(tmp_path):
  for name in ('Ann/1.png', 'someone.png', 'notes.txt'):
    save_face(tmp_path / 'a.png')
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'')
  reader = face_files.make_crop_reader(SIZE, 0)
  entries, left_out = face_files.list_probes(tmp_path, reader)
  assert [entry[:2] for entry in entries] == [
    ('Ann/1.png', 'Ann'),
    ('a.png', None),
    ('someone.png', None),
  ]
  assert not left_out
  (entry,), _ = face_files.list_probes(tmp_path / 'a.png', reader)
  assert entry[:2] == ('a.png', None)
  assert len(entry.read()) == 1


def test_crops_are_resized_where_that_is_said(tmp_path):
  save_face(tmp_path / 'a: b.png')
  (face,) = face_files.make_crop_reader(16, SIZE)(tmp_path / 'a: b.png')
  assert face.shape == (16, 16, 3)
  message = r'^a: b\.png has 32x32 pixels, wanted 16x16: align .*--photographs'
  with pytest.raises(ValueError, match=message):
    face_files.make_crop_reader(16, 0)(tmp_path / 'a: b.png')


def test_a_size_that_crops_cannot_have_is_said_once():
  with pytest.raises(ValueError, match=r'^stored_size is -1, wanted'):
    face_files.make_crop_reader(SIZE, -1)
  with pytest.raises(ValueError, match='squeezed'):
    face_files.make_crop_reader((28, 24), 28)


def test_a_name_that_is_no_text_is_refused_when_it_is_listed(tmp_path):
  name = os.fsdecode(b'\xff')
  save_face(tmp_path / name / '1.png')
  save_face(tmp_path / f'{name}.png')
  reader = face_files.make_crop_reader(SIZE, SIZE)
  for list_entries in (face_files.list_people, face_files.list_probes):
    with pytest.raises(ValueError, match=r"'\\udcff.* is no UTF-8 text"):
      list_entries(tmp_path, reader)
  with pytest.raises(ValueError, match='is no UTF-8 text'):
    face_files.list_probes(tmp_path / f'{name}.png', reader)
