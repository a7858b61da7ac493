import numpy as np
import pytest
from benchmark_files import IJB_FACES, make_ijb

from faceqat.data.benchmarks import ijb


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
    (
      {'faces': ['1.jpg 9', *IJB_FACES[1:]]},
      'line 1 is "1.jpg 9", wanted image',
    ),
    ({'faces': ['1.jpg 9 x', *IJB_FACES[1:]]}, 'wanted image template media'),
    ({'faces': ['../1.jpg 9 1', *IJB_FACES[1:]]}, 'which is no file name'),
    ({'faces': [f'1.jpg 9 {10**30}', *IJB_FACES[1:]]}, 'wanted image template'),
    ({'faces': IJB_FACES[1:]}, 'is not of the images of ijbc_face_tid_mid.txt'),
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
