import numpy as np
import pytest
from PIL import Image
from small_programs import small_program

import faceqat
from faceqat.faces import detection, fingerprint
from faceqat.faces.detection import Face
from faceqat.faces.fingerprint import Fingerprint
from faceqat.identification import gallery as galleries
from faceqat.integer import program as integer_program

COLOURS = {'Ann': (200, 30, 30), 'Ben': (30, 200, 30), 'Cid': (30, 30, 200)}


def make_face(colour, seed=0):
  noise = np.random.default_rng(seed).integers(0, 20, (4, 4, 3), np.uint8)
  return noise + np.uint8(colour)


@pytest.fixture
def model(tmp_path):
  path = tmp_path / 'program.safetensors'
  integer_program.save(small_program(image=(4, 4, 3), channels=64), path)
  return faceqat.load(path)


@pytest.fixture
def folder(tmp_path):
  for person, colour in COLOURS.items():
    (tmp_path / 'people' / person).mkdir(parents=True)
    for seed in range(3):
      path = tmp_path / 'people' / person / f'{seed}.png'
      Image.fromarray(make_face(colour, seed)).save(path)
  (tmp_path / 'people' / 'Ann' / 'notes.txt').touch()
  return tmp_path / 'people'


@pytest.fixture
def people(model, folder):
  return faceqat.Gallery.enrol(model, folder, aligned=True)


def test_everybody_in_a_folder_is_enrolled(people):
  assert people.people == tuple(COLOURS)
  assert (len(people), people.images[3]) == (9, 'Ben/0.png')
  assert [entry.name for entry in people.left_out] == ['Ann/notes.txt']
  assert repr(people) == '<faceqat.Gallery of 3 people, 9 images>'


def test_probes_find_those_who_look_like_them(people, model):
  probes = model.embed([make_face(c, 7) for c in COLOURS.values()])
  found = people.search(probes, k=3)
  assert [matches[0].person for matches in found] == [*COLOURS]
  for best, second, _ in found:
    assert 1 >= best.score >= second.score >= -1
    assert best.image.startswith(f'{best.person}/')
  assert people.search(probes[:0]) == []
  # An image finds itself, with the mirror image that a gallery adds.
  (first,) = model.embed([make_face(COLOURS['Ben'], 2)], mirrored=True)
  (matches,) = people.search(first[np.newaxis], k=9)
  assert (matches[0].image, len(matches)) == ('Ben/2.png', 3)
  assert matches[0].score == pytest.approx(1, abs=2**-28)


def test_a_gallery_is_a_file_of_identify(people, model, tmp_path):
  path = tmp_path / 'people.safetensors'
  people.save(path)
  stored = galleries.load(path)
  np.testing.assert_array_equal(stored.templates, people.stored.templates)
  assert stored.maker.model == model.digest
  with pytest.raises(ValueError, match=r'is a folder; use Gallery\.enrol'):
    faceqat.Gallery.load(tmp_path, model)
  again = faceqat.Gallery.load(path, model)
  probe = model.embed([make_face((99, 99, 99))])
  assert again.search(probe) == people.search(probe)


def test_a_gallery_of_another_network_is_refused(people, model, tmp_path):
  path = tmp_path / 'people.safetensors'
  people.save(path)
  other = faceqat.load(model.name)
  other.digest = 'cd' * 32
  with pytest.raises(ValueError, match='was made by another network'):
    faceqat.Gallery.load(path, other)
  floats, short = np.zeros([1, 64], np.float32), np.zeros([1, 8], np.int8)
  for wrong in (floats, short, [[0] * 64], 'Ann'):
    with pytest.raises(ValueError, match='has integers of size 64: give what'):
      people.search(wrong)
  for wrong in (1.5, 0, '5'):
    with pytest.raises(ValueError, match=f'k is {wrong!r}, wanted a whole num'):
      people.search(np.zeros([1, 64], np.int8), k=wrong)
  with pytest.raises(ValueError, match='the model is of type str, wanted what'):
    faceqat.Gallery.enrol('people', model)


def test_templates_are_kept_in_int8_where_that_is_asked(people, model, folder):
  small = faceqat.Gallery.enrol(model, folder, aligned=True, int8=True)
  assert small.stored.templates.dtype == np.int8
  np.testing.assert_array_equal(
    small.stored.templates, people.stored.to_int8().templates
  )


def test_photographs_are_enrolled_by_their_largest_face(
  model, folder, monkeypatch
):
  points = np.array([[1.0, 1], [3, 1], [2, 2], [1, 3], [3, 3]])
  monkeypatch.setattr(
    detection,
    'make_detector',
    lambda detector: (
      lambda image: [Face(np.array([0.0, 0, 4, 4]), points, 0.9)]
    ),
  )
  people = faceqat.Gallery.enrol(model, folder)
  assert (people.people, len(people)) == (tuple(COLOURS), 9)
  assert [entry.name for entry in people.left_out] == ['Ann/notes.txt']
  # Of which `verify` could not say which is meant, either.
  wide = np.concatenate([make_face(COLOURS['Ben'])] * 2, axis=1)
  Image.fromarray(wide).save(folder / 'Ben' / '1.png')
  monkeypatch.setattr(
    detection,
    'make_detector',
    lambda detector: (
      lambda image: [
        Face(np.array([x, 0.0, 4, 4]), points + np.array([x, 0]), 0.9)
        for x in range(0, image.shape[1], 4)
      ]
    ),
  )
  people = faceqat.Gallery.enrol(model, folder)
  assert (len(people), people.left_out[-1]) == (
    8,
    (
      'Ben/1.png',
      '1.png shows several faces of similar size: crop it to one of them',
    ),
  )
  assert 'Ben/2.png' in people.images
  monkeypatch.setattr(detection, 'make_detector', lambda _: lambda image: [])
  with pytest.raises(ValueError, match='has nobody to enrol'):
    faceqat.Gallery.enrol(model, folder)


def test_faces_of_another_alignment_are_refused(model, folder):
  fingerprint.write(Fingerprint('arcface', 4, 'BGR'), folder)
  made_for = Fingerprint('arcface', 4)
  object.__setattr__(model.embedder, 'fingerprint', made_for)
  with pytest.raises(ValueError, match="channels 'BGR'"):
    faceqat.Gallery.enrol(model, folder, aligned=True)
