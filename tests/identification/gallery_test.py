import dataclasses
import json
import os

import numpy as np
import pytest
import safetensors.numpy
from galleries import MAKER, PEOPLE, make_digests, make_gallery, make_sums

from faceqat.faces.fingerprint import Fingerprint
from faceqat.identification import gallery


def cosines(a, b):
  a, b = np.asarray(a, float), np.asarray(b, float)
  return (
    np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
  )


KINDS = [
  ('float', False, np.float32),
  ('integer', False, np.int16),
  ('float', True, np.int8),
  ('integer', True, np.int8),
]


@pytest.mark.parametrize(
  ('size', 'stored'), [(112, 112), ((112, 96), [112, 96])]
)
def test_a_gallery_says_for_which_faces_it_is(size, stored, tmp_path):
  faces = Fingerprint('mine', size)
  made = gallery.empty(
    32, True, False, dataclasses.replace(MAKER, fingerprint=faces)
  )
  path = tmp_path / 'people.safetensors'
  gallery.save(made, path)
  with safetensors.safe_open(path, 'np') as file:
    entry = json.loads(file.metadata()['faceqat_gallery'])
  assert entry['maker'] == {
    'precision': MAKER.precision,
    'model': MAKER.model,
    'fingerprint': {
      'template': 'mine',
      'size': stored,
      'channels': 'RGB',
      'normalization': 'uint8',
      'weights': '',
    },
  }
  assert gallery.load(path).maker == made.maker


def test_pictures_of_two_people_are_found():
  made = make_gallery()
  assert made.shared_pictures() == []
  digests = make_digests()
  # Dan's first is one of Ann's and Ben's; two of Ann's are one picture.
  digests[[3, 6]], digests[4] = digests[0], digests[1]
  made = dataclasses.replace(made, digests=digests)
  assert made.shared_pictures() == [(0, 3), (0, 6)]


@pytest.mark.parametrize(('kind', 'int8', 'dtype'), KINDS)
def test_a_gallery_is_read_as_it_was_written(kind, int8, dtype, tmp_path):
  made = make_gallery(kind, int8)
  assert made.templates.dtype == dtype
  assert made.integer == (dtype != np.float32)
  path = tmp_path / 'people.safetensors'
  gallery.save(made, path)
  read = gallery.load(path)
  for field in dataclasses.fields(made):
    one, other = getattr(made, field.name), getattr(read, field.name)
    if isinstance(one, np.ndarray):
      assert one.dtype == other.dtype
      np.testing.assert_array_equal(one, other)
    else:
      assert one == other
  assert list(tmp_path.iterdir()) == [path]


def test_integer_templates_are_kept_to_the_last_bit():
  np.testing.assert_array_equal(
    make_gallery('integer').templates, make_sums('integer')
  )


@pytest.mark.parametrize('kind', ['float', 'integer'])
def test_int8_templates_point_where_the_exact_ones_do(kind):
  exact, small = make_gallery(kind), make_gallery(kind, int8=True)
  np.testing.assert_array_equal(exact.to_int8().templates, small.templates)
  assert (np.abs(small.templates.astype(int)).max(axis=1) == 127).all()
  # Rounding errors of a step's 12th part, squared, on elements whose mean
  # square is above 30 steps squared.
  assert cosines(exact.templates, small.templates).min() > 1 - 1 / 12 / 30**2


def test_zeros_stay_zeros():
  zeros = np.zeros([2, 4], np.int32)
  for templates in (zeros, zeros.astype(np.float32)):
    assert not gallery.to_int8(gallery.exact_templates(templates)).any()
  start = gallery.empty(4, True, False, MAKER)
  grown, _ = start.grown(zeros, ['A', 'A'], ['1', '2'], make_digests(2))
  assert not grown.prototypes().any()


def test_a_prototype_is_the_mean_of_unit_vectors():
  made = make_gallery('float')
  unit = make_sums('float') / np.linalg.norm(
    make_sums('float'), axis=1, keepdims=True
  )
  assert made.people == ('Ann', 'Ben', 'Cid', 'Dan')
  prototypes = made.prototypes()
  for name, prototype in zip(made.people, prototypes):
    mean = unit[np.array(PEOPLE) == name].mean(axis=0)
    # float32 has 24 bits.
    np.testing.assert_allclose(
      prototype, mean / np.linalg.norm(mean), atol=1e-6
    )


@pytest.mark.parametrize(
  ('int8', 'reach', 'dtype'), [(False, 510, np.int16), (True, 127, np.int8)]
)
def test_integer_prototypes_are_those_of_float_rounded(int8, reach, dtype):
  made = make_gallery('integer', int8)
  unit = made.templates / np.linalg.norm(
    made.templates.astype(float), axis=1, keepdims=True
  )
  prototypes = made.prototypes()
  assert prototypes.dtype == dtype
  for label, prototype in enumerate(prototypes):
    total = unit[made.labels == label].sum(axis=0)
    scaled = total * reach / np.abs(total).max()
    # Half a step, and what unit vectors of 20 bits are off by.
    np.testing.assert_allclose(prototype, scaled, atol=0.5 + reach * 2**-17)
    assert np.abs(prototype.astype(int)).max() == reach


def test_one_image_alone_is_its_own_prototype():
  start = gallery.empty(32, True, True, MAKER)
  sums = make_sums('integer', 3)
  made, _ = start.grown(sums, 'abc', 'abc', make_digests(3))
  np.testing.assert_array_equal(made.prototypes(), made.templates)


@pytest.mark.parametrize(('kind', 'int8', 'dtype'), KINDS)
def test_a_grown_gallery_is_the_one_made_at_once(kind, int8, dtype):
  sums, digests = make_sums(kind), make_digests()
  names = [f'{person}/{i}.jpg' for i, person in enumerate(PEOPLE)]
  grown = gallery.empty(32, kind == 'integer', int8, MAKER)
  # Dan comes first; Ann, who comes later, gets a label behind him.
  for part in (slice(0, 1), slice(1, 5), slice(5, 10)):
    before = grown
    grown, twice = grown.grown(
      sums[part], PEOPLE[part], names[part], digests[part]
    )
    assert not twice
    # What was there is where it was.
    count = len(before.images)
    assert grown.people[: len(before.people)] == before.people
    np.testing.assert_array_equal(grown.labels[:count], before.labels)
  at_once = make_gallery(kind, int8)
  assert grown.people == ('Dan', 'Ann', 'Ben', 'Cid')
  assert [grown.people[label] for label in grown.labels] == PEOPLE
  np.testing.assert_array_equal(grown.templates, at_once.templates)
  order = [at_once.people.index(name) for name in grown.people]
  np.testing.assert_array_equal(grown.prototypes(), at_once.prototypes()[order])


def test_an_image_that_is_there_already_is_not_added_again():
  made = make_gallery()
  digests = made.digests[[1, 1]]
  sums = make_sums('integer', 2)
  grown, twice = made.grown(
    sums, ['Ann', 'Eve'], ['Ann/copy.jpg', 'Eve/a.jpg'], digests
  )
  # By its pixels, and only where it is the same person's.
  assert twice == ['Ann/copy.jpg']
  assert grown.images[10:] == ('Eve/a.jpg',)
  assert grown.people[-1] == 'Eve'


def test_digests_are_those_of_pixels():
  image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
  other = image.copy()
  other[7, 7, 2] ^= 1
  digests = [gallery.digest_image(x) for x in (image, image[:], other)]
  assert digests[0].shape == (gallery.DIGEST_BYTES,)
  assert (digests[0] == digests[1]).all()
  assert (digests[0] != digests[2]).any()


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    (
      'precision',
      'float',
      "precision 'integer', .* give --precision=integer, or ma",
    ),
    ('model', 'cd' * 32, r'another network \(abababababab\) than --model'),
    (
      'fingerprint',
      Fingerprint('margin_32', 160),
      r"aligned otherwise .*'arcface'.* there, .*'margin_32'.* here\).*again",
    ),
  ],
)
def test_templates_of_another_maker_are_refused(field, value, message):
  other = dataclasses.replace(MAKER, **{field: value})
  with pytest.raises(ValueError, match=f'people.safetensors .*{message}'):
    gallery.check_maker(make_gallery(), other, 'people.safetensors')


def test_an_alignment_that_nobody_states_is_taken_as_it_is():
  silent = dataclasses.replace(MAKER, fingerprint=None)
  gallery.check_maker(make_gallery(), silent, 'people.safetensors')
  gallery.check_maker(make_gallery(), MAKER, 'people.safetensors')


def rewritten(path, **changes):
  """The file with other arrays or another entry, and a digest that is right."""
  arrays = safetensors.numpy.load_file(path)
  with safetensors.safe_open(path, 'np') as file:
    entry = json.loads(file.metadata()['faceqat_gallery'])
  for name, value in changes.items():
    if name in arrays:
      arrays[name] = value
    else:
      entry[name] = value
  if 'sha256' not in changes:
    maker = None if entry['version'] == 1 else entry['maker']
    entry['sha256'] = gallery._digest(arrays, maker)
  text = json.dumps(entry)
  path.write_bytes(
    safetensors.numpy.save(arrays, metadata={'faceqat_gallery': text})
  )


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda p: p.write_bytes(p.read_bytes()[:-9]), 'is cut short'),
    (lambda p: p.write_bytes(b'a photo'), 'is no gallery'),
    (
      lambda p: safetensors.numpy.save_file({'a': np.zeros(3)}, p),
      "header has no 'faceqat_gallery'",
    ),
    (lambda p: rewritten(p, version=4), 'gallery format 4; .* upgrade'),
    (lambda p: rewritten(p, version='2'), "gallery format '2'"),
    (lambda p: rewritten(p, sha256='0' * 64), 'SHA-256 does not match'),
    (lambda p: rewritten(p, maker={}), "damaged: 'precision'"),
    (
      lambda p: rewritten(p, labels=np.zeros(9, np.int32)),
      'arrays do not fit together',
    ),
    (
      lambda p: rewritten(p, labels=np.full(10, 7, np.int32)),
      'arrays do not fit together',
    ),
    (
      lambda p: rewritten(p, templates=np.full([10, 32], np.nan, np.float32)),
      'arrays do not fit together',
    ),
    (
      lambda p: rewritten(p, names=np.frombuffer(b'\x80\x04', np.uint8)),
      'is damaged',
    ),
  ],
)
def test_a_damaged_file_is_refused_by_name(damage, message, tmp_path):
  path = tmp_path / 'people.safetensors'
  gallery.save(make_gallery(), path)
  damage(path)
  with pytest.raises(ValueError, match=f'{path} .*{message}'):
    gallery.load(path)


def test_a_flipped_bit_is_found(tmp_path):
  path = tmp_path / 'people.safetensors'
  gallery.save(make_gallery(), path)
  whole = path.read_bytes()
  # In a template, in the digits of the network, and in the alignment's name.
  for position in (len(whole) - 100, whole.index(b'abab'), whole.index(b'arc')):
    content = bytearray(whole)
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match='SHA-256 does not match'):
      gallery.load(path)


def test_galleries_of_older_versions_are_still_read(tmp_path):
  path = tmp_path / 'people.safetensors'
  gallery.save(make_gallery(), path)
  with safetensors.safe_open(path, 'np') as file:
    maker = json.loads(file.metadata()['faceqat_gallery'])['maker']
  maker['reading'] = maker.pop('precision')
  for version in (1, 2):
    rewritten(path, version=version, maker=maker)
    assert gallery.load(path).maker == MAKER
  # Its digest is of the arrays alone, and no digest of version 2.
  rewritten(
    path,
    version=2,
    sha256=gallery._digest(safetensors.numpy.load_file(path), None),
  )
  with pytest.raises(ValueError, match='SHA-256 does not match'):
    gallery.load(path)


def test_a_failed_save_leaves_the_old_gallery(tmp_path, monkeypatch):
  path = tmp_path / 'people.safetensors'
  gallery.save(make_gallery(), path)
  before = path.read_bytes()

  def fail(*_):
    raise OSError('disk full')

  monkeypatch.setattr(os, 'replace', fail)
  with pytest.raises(OSError, match='disk full'):
    gallery.save(make_gallery(int8=True), path)
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]
