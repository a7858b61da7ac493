"""Decoded images that are kept: the same pixels, made once and when needed."""

import concurrent.futures
import errno
import os
import pathlib

import numpy as np
import pytest
from face_sets import SIZE, encode, write_folder

from faceqat.data import decoded
from faceqat.data.joined import JoinedSource
from faceqat.data.pipeline import subset
from faceqat.data.sources.folder import FolderSource
from faceqat.data.sources.labelled import SourceInRGB
from faceqat.faces import images
from faceqat.faces.images import DamagedImageError

GB = 0.001


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> pathlib.Path:
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'faceqat' / 'decoded'


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
  return write_folder(tmp_path / 'faces')


@pytest.fixture
def decodings(monkeypatch) -> list[str]:
  """The names of images as they are decoded."""
  names = []
  decode = images.decode_image

  def noted(data, name, *sizes):
    names.append(name)
    return decode(data, name, *sizes)

  monkeypatch.setattr(images, 'decode_image', noted)
  return names


def keep(source, size=SIZE, limit=GB):
  kept, notes = decoded.keep_decoded(source, size, limit)
  assert notes == []
  return kept


def assert_same(kept, source):
  assert len(kept) == len(source)
  for index in range(len(source)):
    ours, theirs = kept[index], source[index]
    np.testing.assert_array_equal(ours['image'], theirs['image'])
    assert ours['label'] == theirs['label']
    assert kept.name(index) == source.name(index)


def test_pixels_are_those_of_the_source(root):
  small = FolderSource(root, 8, stored_size=SIZE)
  assert_same(keep(small, 8), small)
  joined = JoinedSource(
    [FolderSource(root, SIZE), SourceInRGB(FolderSource(root, SIZE))],
    ['one', 'other'],
    'apart',
  )
  kept = keep(joined)
  assert_same(kept, joined)
  # As splits use it.
  part = subset(kept, [5, 200])
  assert_same(part, subset(joined, [5, 200]))


def test_each_image_is_decoded_once(root, cache, decodings):
  source = FolderSource(root, SIZE)
  kept = keep(source)
  again = keep(FolderSource(root, SIZE))
  for one in (kept, again):
    for index in range(len(source)):
      assert one[index]['image'].shape == (SIZE, SIZE, 3)
  assert sorted(decodings) == [source.name(i) for i in range(len(source))]
  assert [path.suffix for path in images_in(cache)] == ['.pixels']


def images_in(cache) -> list[pathlib.Path]:
  return [path for path in cache.iterdir() if path.name != '.lock']


def test_a_changed_image_is_decoded_anew(root, decodings):
  keep(FolderSource(root, SIZE))
  file = root / 'p03' / 'p03_0001.png'
  before, content = file.stat(), file.read_bytes()
  # Another image of as many bytes; even the time of its change is the old one.
  other = encode(9, 1)
  padded = other + bytes(max(0, len(content) - len(other)))
  file.write_bytes(padded)
  os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
  changed = FolderSource(root, SIZE)
  decodings.clear()
  assert_same(keep(changed), changed)
  assert str(file) in decodings


@pytest.mark.parametrize(
  'make',
  [
    lambda root: FolderSource(root, 8, stored_size=SIZE),
    lambda root: SourceInRGB(FolderSource(root, SIZE)),
    lambda root: subset(FolderSource(root, SIZE), [3, 2, 1, 0]),
  ],
)
def test_what_is_made_of_the_same_files_is_told_apart(root, make):
  source, other = FolderSource(root, SIZE), make(root)
  assert source.version() == FolderSource(root, SIZE).version()
  assert source.version() != other.version()
  assert keep(source).version() == source.version()


def test_a_damaged_image_is_named_where_it_is_used(root):
  path = root / 'p03' / 'p03_0001.png'
  path.write_bytes(path.read_bytes()[:50])
  source = FolderSource(root, SIZE)
  kept = keep(source)
  index = [source.name(i) for i in range(len(source))].index(str(path))
  for one in (source, kept):
    with pytest.raises(DamagedImageError, match=path.name):
      one[index]
  assert kept[index + 1]['image'].any()


def test_sets_used_least_recently_make_room(tmp_path, cache):
  folders = [write_folder(tmp_path / f'faces{i}') for i in range(3)]
  sources = [FolderSource(folder, SIZE) for folder in folders]
  size = len(sources[0]) * (SIZE * SIZE * 3 + 1)
  # Room for two of three.
  limit = 2.5 * size / 1e9
  keep(sources[0], limit=limit)
  first = images_in(cache)[0]
  keep(sources[1], limit=limit)
  second = next(path for path in images_in(cache) if path != first)
  os.utime(second, (0, 0))
  kept = keep(sources[2], limit=limit)
  assert not second.exists()
  assert first.exists()
  assert len(images_in(cache)) == 2
  assert_same(kept, sources[2])


def test_a_set_that_is_too_large_is_decoded_as_before(root, cache):
  source = FolderSource(root, SIZE)
  same, [note] = decoded.keep_decoded(source, SIZE, 1e-6)
  assert same is source
  assert 'data.cache_gb=1e-06' in note
  assert decoded.keep_decoded(source, SIZE, 0) == (source, [])
  assert not cache.exists()
  with pytest.raises(ValueError, match=r'data\.cache_gb is -1'):
    decoded.keep_decoded(source, SIZE, -1)


def test_a_full_disk_ends_no_training(root, cache, monkeypatch):
  def fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  source = FolderSource(root, SIZE)
  with monkeypatch.context() as patch:
    patch.setattr(os, 'pwrite', fail)
    same, [note] = decoded.keep_decoded(source, SIZE, GB)
  assert same is source
  assert 'No space left on device' in note
  assert images_in(cache) == []
  # Nor what a killed process left, or a file that was cut short.
  cut = cache / '.x.pixels.01234567.tmp'
  cut.write_bytes(b'half')
  keep(source)
  (whole,) = images_in(cache)
  os.truncate(whole, 100)
  assert_same(keep(source), source)
  assert images_in(cache) == [whole]


def test_of_two_processes_one_decodes(root, decodings):
  # The lock is of the open file: threads wait for it as processes do.
  source = FolderSource(root, SIZE)
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    both = list(pool.map(keep, [source, FolderSource(root, SIZE)]))
  assert len(decodings) == len(source)
  for kept in both:
    assert_same(kept, source)
