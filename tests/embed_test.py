"""The command embed, on a network that gives the pixels in its corners."""

import csv

import command_line
import numpy as np
import pytest
from PIL import Image

from faceqat import embed
from faceqat.api import loading as models
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.identification.embedders import Embedder

SIZE = 32


def make_model(integer=True):
  def predict(images):
    corners = np.stack([images[:, 0, 0, 0], images[:, 0, -1, 0]], 1)
    if integer:
      return corners.astype(np.int16)
    return corners.astype(np.float32) / 3

  embedder = Embedder(
    predict,
    image_size=(SIZE, SIZE),
    stored_size=0,
    precision='integer' if integer else 'float',
    fingerprint=Fingerprint('arcface', SIZE),
    network=None,
    digest=lambda batch_size: '0' * 64,
    checked=True,
  )
  return models.Model(embedder, 'tiny')


@pytest.fixture
def faces(tmp_path):
  """Two people, an image beside them, and one of another size."""
  folder = tmp_path / 'faces'
  for number, name in enumerate(['ann/0.png', 'bob/=1.png', 'loose.png'], 1):
    pixels = np.zeros([SIZE, SIZE, 3], np.uint8)
    pixels[0, 0], pixels[0, -1] = number, 10 * number
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
  Image.new('RGB', (8, 8)).save(folder / 'ann' / 'small.png')
  return folder


def run(monkeypatch, *paths, integer=True, **flags):
  monkeypatch.setattr(models, 'load', lambda *_, **__: make_model(integer))
  command_line.run(embed, *paths, **flags)


def test_an_array_has_a_row_a_face_and_their_names_beside_it(
  faces, tmp_path, monkeypatch, capsys
):
  out = tmp_path / 'e.npy'
  run(monkeypatch, faces, faces / 'ann' / '0.png', out=out)
  vectors = np.load(out)
  assert vectors.dtype == np.int8
  assert vectors.tolist() == [[1, 10], [2, 20], [3, 30], [1, 10]]
  with (tmp_path / 'e.csv').open() as file:
    header, *rows = csv.reader(file)
  assert header == ['image', 'person']
  assert rows == [
    [f'{faces}/ann/0.png', 'ann'],
    [f'{faces}/bob/=1.png', 'bob'],
    [f'{faces}/loose.png', ''],
    [f'{faces}/ann/0.png', ''],
  ]
  printed = capsys.readouterr().out
  assert f'left out: {faces}/ann/small.png: small.png has 8x8' in printed
  assert printed.endswith(f'{out}: 4 faces, 2 numbers each\n')
  # Nothing half-written.
  assert {path.name for path in tmp_path.iterdir()} == {
    *('faces', 'e.npy', 'e.csv')
  }


def test_a_table_has_the_numbers_of_the_array(faces, tmp_path, monkeypatch):
  out = tmp_path / 'e.csv'
  run(monkeypatch, faces, out=out, integer=False, mirrored=True)
  with out.open() as file:
    header, *rows = csv.reader(file)
  assert header == ['image', 'person', '0', '1']
  found = np.array([row[2:] for row in rows]).astype(np.float32)
  # The shortest decimals give the same float32.
  expected = np.float32([1, 2, 3]) / 3 + np.float32([10, 20, 30]) / 3
  np.testing.assert_array_equal(found, np.stack([expected] * 2, 1))


@pytest.mark.parametrize(
  ('out', 'message'),
  [
    ('e.txt', r'e\.txt: give a file to write that ends with \.npy or \.csv'),
    ('none/e.npy', 'there is no folder .*none; make it'),
  ],
)
def test_a_wrong_place_is_refused_before_the_work(
  out, message, faces, tmp_path, monkeypatch
):
  def load(*_, **__):
    raise AssertionError('loaded')

  monkeypatch.setattr(models, 'load', load)
  with pytest.raises(ValueError, match=message):
    command_line.run(embed, faces, out=tmp_path / out)


def test_faces_of_another_alignment_are_refused(faces, tmp_path, monkeypatch):
  fingerprint.write(Fingerprint('sphereface', SIZE), faces)
  with pytest.raises(ValueError, match='sphereface'):
    run(monkeypatch, faces, out=tmp_path / 'e.npy')
  assert not (tmp_path / 'e.npy').exists()


def test_nothing_to_embed_is_one_sentence(tmp_path, monkeypatch):
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match='can be used: there is no image'):
    run(monkeypatch, tmp_path / 'empty', out=tmp_path / 'e.npy')
