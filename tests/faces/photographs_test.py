import numpy as np
import pytest
from PIL import Image

from faceqat.faces import photographs


def test_a_photograph_is_rgb_and_may_be_written_to(tmp_path):
  Image.new('L', (3, 2), 90).save(tmp_path / 'a.png')
  image = photographs.read_photograph(tmp_path / 'a.png')
  np.testing.assert_array_equal(image, np.full((2, 3, 3), 90, np.uint8))
  assert image.flags.writeable


def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path):
  path = tmp_path / 'half.png'
  path.write_bytes(b'x' * 99)
  with pytest.raises(ValueError, match=r'half\.png cannot .*restore or remove'):
    photographs.read_photograph(path)
  with pytest.raises(ValueError, match=r'gone\.jpg is not there'):
    photographs.read_photograph(tmp_path / 'gone.jpg')
  with pytest.raises(ValueError, match=f'{tmp_path.name} is a folder; give a'):
    photographs.read_photograph(tmp_path)


def test_a_remedy_of_its_own_is_the_end_of_the_sentence(tmp_path):
  bomb = tmp_path / 'bomb.png'
  Image.new('1', (11_000, 10_000)).save(bomb)
  with pytest.raises(
    ValueError, match=r'has 11000x10000 .*: make it smaller, or remove it$'
  ):
    photographs.read_photograph(bomb)


def test_nobody_is_warned_of_a_large_photograph(tmp_path, monkeypatch):
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 5)
  Image.new('RGB', (3, 2)).save(tmp_path / 'a.png')
  # Of more than the limit Pillow warns, which is an error in these tests.
  assert photographs.read_photograph(tmp_path / 'a.png').shape == (2, 3, 3)
