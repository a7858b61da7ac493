"""Photographs as other cameras write them."""

import command_line
import numpy as np
import pytest
from PIL import Image

from benchmarks import camera_forms
from faceqat.files import decoding

COUNT = 8


def read(path):
  return np.asarray(decoding.decode(path))


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  """Eight pictures of one person, dark at the top and to the left."""
  folder = tmp_path_factory.mktemp('people')
  ramp = np.add.outer(2 * np.arange(112), np.arange(112)) * 2 // 3
  picture = np.repeat(np.uint8(ramp)[..., np.newaxis], 3, axis=2)
  (folder / 'a').mkdir()
  for i in range(COUNT):
    Image.fromarray(picture).save(folder / 'a' / f'{i}.b.png')
  return folder


def test_every_form_is_written_and_read_upright(photographs, tmp_path, capsys):
  (original,) = {
    read(path).tobytes() for path in sorted((photographs / 'a').iterdir())
  }
  original = np.frombuffer(original, np.uint8).reshape(112, 112, 3)
  for form, suffix in (('grey', 'pgm'), ('orl', 'pgm'), ('exif', 'jpg')):
    out = tmp_path / form
    command_line.run(camera_forms, form=form, images=photographs, out=out)
    assert f'{out}: {COUNT} images' in capsys.readouterr().out
    paths = sorted((out / 'a').iterdir())
    assert [path.name for path in paths] == [
      f'{i}.b.{suffix}' for i in range(COUNT)
    ]
    wanted = original[:, 10:102] if form == 'orl' else original
    for path in paths:
      # JPEG moves a smooth picture by a few steps, and lying it by far more.
      assert np.abs(np.int16(read(path)) - wanted).max() <= 12, path
  orientations, layouts = set(), set()
  for path in paths:
    with Image.open(path) as image:
      orientations.add(image.getexif()[0x0112])
      layouts.add((np.asarray(image)[::111, ::111, 0] // 32).tobytes())
  assert orientations == set(range(2, 9))
  # All but one picture lie or are mirrored, each in another way.
  assert len(layouts) == 7


def test_no_more_than_asked_are_written(photographs, tmp_path):
  assert camera_forms.make('grey', photographs, tmp_path / 'out', 3) == 3
  empty = tmp_path / 'empty'
  empty.mkdir()
  with pytest.raises(ValueError, match='empty has no image person/image'):
    camera_forms.make('grey', empty, tmp_path / 'out')
