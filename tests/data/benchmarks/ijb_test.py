import numpy as np
import pytest
from PIL import Image

from faceqat.data.benchmarks import ijb
from faceqat.faces.alignment import ARCFACE_TEMPLATE

# Templates 7, 9 and 12; two images of 9 are of one video.
FACES = ['1.jpg 9 100', '2.jpg 9 100', '3.jpg 7 5', 'a/4.jpg 12 100']
PAIRS = ['9 7 1', '12 9 0', '7 12 0']


def make_ijb(folder, faces=FACES, pairs=PAIRS, points=None):
  """Faces a pixel to the right of the template, each 10 brighter."""
  meta, crops = folder / 'meta', folder / 'loose_crop'
  landmarks = ' '.join(
    str(x) for x in (ARCFACE_TEMPLATE + np.array([1, 0])).ravel()
  )
  names = [line.split()[0] for line in FACES]
  for i, name in enumerate(names):
    path = crops / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((120, 130, 3), 10 * (i + 1), np.uint8)
    # The edge of the crop that is to be found.
    pixels[:, :1] = 255
    Image.fromarray(pixels).save(path, 'PNG')
  if points is None:
    points = [f'{name} {landmarks} 0.{i + 1}' for i, name in enumerate(names)]
  meta.mkdir(exist_ok=True)
  for name, lines in (
    ('face_tid_mid', faces),
    ('name_5pts_score', points),
    ('template_pair_label', pairs),
  ):
    (meta / f'ijbc_{name}.txt').write_text(''.join(f'{x}\n' for x in lines))
  return folder


def test_lists_of_ijb_are_read_and_its_images_aligned(tmp_path):
  found = ijb.read_ijb(make_ijb(tmp_path), 112)
  assert found.name == 'ijbc'
  # By rising number of the template.
  assert found.template.tolist() == [1, 1, 0, 2]
  assert found.media.tolist() == [100, 100, 5, 100]
  np.testing.assert_allclose(found.quality, [0.1, 0.2, 0.3, 0.4])
  assert found.first.tolist() == [1, 2, 0]
  assert found.second.tolist() == [0, 1, 2]
  assert found.same.tolist() == [True, False, False]
  assert (len(found), len(found.images)) == (3, 4)
  for i in range(4):
    image = found.images[i]
    assert image.shape == (112, 112, 3)
    # Moved 1 pixel to the left: the white column is cut off.
    assert set(np.unique(image)) == {10 * (i + 1)}
  half = ijb.read_ijb(tmp_path, 56).images[0]
  assert half.shape == (56, 56, 3)
  narrow = ijb.read_ijb(tmp_path, (112, 96), 'sphereface').images[2]
  assert narrow.shape == (112, 96, 3)
  assert set(np.unique(narrow)) == {30}


@pytest.mark.parametrize(
  ('lists', 'message'),
  [
    ({'faces': ['1.jpg 9', *FACES[1:]]}, 'line 1 is "1.jpg 9", wanted image'),
    ({'faces': ['1.jpg 9 x', *FACES[1:]]}, 'wanted image template media'),
    ({'faces': ['../1.jpg 9 1', *FACES[1:]]}, 'which is no file name'),
    ({'faces': [f'1.jpg 9 {10**30}', *FACES[1:]]}, 'wanted image template'),
    ({'faces': FACES[1:]}, 'is not of the images of ijbc_face_tid_mid.txt'),
    ({'points': ['1.jpg 1 2 3 4 5 6 7 8 9 10']}, 'five times x y, score'),
    ({'points': ['1.jpg 1 2 3 4 5 6 7 8 9 10 nan']}, 'five times x y, score'),
    ({'pairs': ['9 7', '7 9']}, 'has 2 numbers a line, wanted three'),
    ({'pairs': ['9 7 a']}, 'is no list of lines "template template label"'),
    ({'pairs': []}, 'is no list of lines "template template label"'),
    ({'pairs': ['9 8 1']}, 'has the template 8, wanted templates of'),
    ({'pairs': ['9 7 2']}, 'has another label, wanted'),
  ],
)
def test_wrong_lists_are_named(lists, message, tmp_path):
  make_ijb(tmp_path, **lists)
  with pytest.raises(ValueError, match=message):
    ijb.read_ijb(tmp_path, 112)


def test_missing_lists_are_named(tmp_path):
  with pytest.raises(ValueError, match=r'has 0 lists \*_face_tid_mid.txt'):
    ijb.read_ijb(tmp_path, 112)
  make_ijb(tmp_path)
  (tmp_path / 'meta' / 'ijbc_template_pair_label.txt').unlink()
  with pytest.raises(ValueError, match=r'no list of pairs .*pair_label'):
    ijb.read_ijb(tmp_path, 112)
