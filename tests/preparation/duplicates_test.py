import io

import numpy as np
import pytest
import real_data
from PIL import Image, ImageEnhance

from faceqat.preparation import duplicates

LFW = real_data.path('data/lfw/images')
# Two names of one person, in LFW with the same picture.
KNOWN_COPY = {'Gabrielle_Rose', 'Martha_Bowen'}


def distance(a, b):
  return int(np.bitwise_count(np.bitwise_xor(a, b)).sum())


def make_picture(seed):
  """Blots, as smooth as a face."""
  coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
  return Image.fromarray(coarse).resize((112, 112), Image.Resampling.BICUBIC)


def saved(picture, quality):
  stream = io.BytesIO()
  picture.save(stream, 'JPEG', quality=quality)
  return Image.open(stream)


CHANGES = {
  'quality': lambda p: saved(p, 40),
  'smaller': lambda p: p.resize((70, 70)),
  'larger': lambda p: p.resize((224, 224)),
  'brighter': lambda p: ImageEnhance.Brightness(p).enhance(1.15),
  'grey': lambda p: p.convert('L').convert('RGB'),
}


def hashed(picture):
  return duplicates.perceptual_hash(np.asarray(picture))


@pytest.mark.parametrize('change', CHANGES)
def test_a_copy_is_near_and_another_picture_is_not(change):
  for seed in range(5):
    picture = make_picture(seed)
    copy, other = CHANGES[change](picture), make_picture(seed + 100)
    near = distance(hashed(picture), hashed(copy))
    assert near <= duplicates.MAX_DISTANCE
    # Chance is 128, with a standard deviation of 8.
    assert distance(hashed(picture), hashed(other)) > 80


def random_hashes(count, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8)


def flipped(hashes, bits):
  bools = np.unpackbits(hashes, axis=1)
  bools[:, :bits] ^= 1
  return np.packbits(bools, axis=1)


@pytest.mark.parametrize('block', [4096, 7])
def test_pairs_within_the_distance_are_found(block, monkeypatch):
  monkeypatch.setattr(duplicates, '_BLOCK', block)
  hashes = random_hashes(50)
  hashes[40] = flipped(hashes[3:4], 40)[0]
  hashes[10] = flipped(hashes[3:4], 41)[0]
  hashes[[20, 30]] = hashes[25]
  found = duplicates.near_pairs(hashes, max_distance=40).tolist()
  # Those at 10 and 40 differ in one bit.
  assert found == [[3, 40], [10, 40], [20, 25], [20, 30]]
  assert duplicates.near_pairs(hashes[:3]).shape == (0, 2)


def test_pairs_of_two_sets_are_found():
  hashes = random_hashes(20)
  others = flipped(hashes[[5, 5, 7]], 10)
  found = duplicates.near_pairs(hashes, others).tolist()
  assert found == [[5, 0], [5, 1], [7, 2]]
  assert duplicates.near_pairs(hashes, others[:0]).shape == (0, 2)


def test_copies_of_all_are_few_pairs():
  # All pairs of them would be 50 million.
  hashes = np.repeat(random_hashes(1), 10_000, axis=0)
  pairs = duplicates.near_pairs(hashes)
  assert len(pairs) == 9_999
  assert duplicates.group(10_000, pairs) == [list(range(10_000))]


def test_groups_are_what_pairs_join():
  pairs = np.array([[5, 1], [1, 3], [0, 8]])
  assert duplicates.group(9, pairs) == [[0, 8], [1, 3, 5]]
  assert duplicates.group(9, np.empty((0, 2))) == []
  assert duplicates.group(0, np.empty((0, 2))) == []


def test_equal_keys_are_joined_with_the_first():
  assert duplicates.equal_pairs(list('abcab')).tolist() == [[0, 3], [1, 4]]
  assert duplicates.equal_pairs([]).shape == (0, 2)


@real_data.needs(LFW)
def test_faces_of_different_people_are_no_copies():
  files = sorted(LFW.glob('*/*.jpg'))[::12]
  known = [file for person in KNOWN_COPY for file in (LFW / person).iterdir()]
  files = sorted({*files, *known})
  pictures = [Image.open(file) for file in files]
  hashes = np.array([hashed(picture) for picture in pictures])
  people = [file.parent.name for file in files]
  found = {
    frozenset((people[a], people[b])) for a, b in duplicates.near_pairs(hashes)
  }
  assert {pair for pair in found if len(pair) > 1} == {frozenset(KNOWN_COPY)}
  copies = np.array([hashed(saved(p, 30)) for p in pictures[:200]])
  pairs = duplicates.near_pairs(hashes, copies).tolist()
  assert all([place, place] in pairs for place in range(200))
