import numpy as np
import pytest
from PIL import Image, ImageColor

from faceqat.report.contact_sheet import MARKS, Tile, contact_sheet


def tile(value, mark='', lines=('Ann Lee', '0.712'), size=(112, 112)):
  return Tile(np.full([*size, 3], value, np.uint8), lines, mark)


def read(path):
  return np.asarray(Image.open(path).convert('RGB')).astype(int)


def coloured(picture, colour):
  """How many pixels have a colour."""
  return int(np.sum((picture == colour).all(axis=-1)))


def test_every_face_is_on_the_sheet_as_it_is(tmp_path):
  path = tmp_path / 'made' / 'sheet.png'
  rows = [(tile(10), [tile(20), tile(30)]), (tile(40), [tile(50), tile(60)])]
  contact_sheet(rows, 'six faces', path)
  picture = read(path)
  for value in (10, 20, 30, 40, 50, 60):
    # Greys of the text's edges may be alike here and there.
    assert 0 <= coloured(picture, [value] * 3) - 112 * 112 < 300
  places = [
    np.argwhere((picture == value).all(axis=-1)).mean(axis=0)
    for value in (10, 20, 30)
  ]
  # The probe, then its matches, the best first.
  assert places[0][1] < places[1][1] < places[2][1]


@pytest.mark.parametrize('mark', ['right', 'wrong', 'unknown'])
def test_a_mark_is_a_frame_and_a_sign_in_its_colour(mark, tmp_path):
  pictures = {}
  for name in ('', mark):
    contact_sheet([(tile(0, name), [])], 'one', tmp_path / 'sheet.png')
    pictures[name] = read(tmp_path / 'sheet.png')
  colour = ImageColor.getrgb(MARKS[mark][0])
  frame = 120 * 120 - 112 * 112
  # The caption is written in it as well.
  assert coloured(pictures[mark], colour) > frame
  assert coloured(pictures[''], colour) == 0


def test_the_signs_of_the_marks_differ(tmp_path):
  signs = [sign for _, sign in MARKS.values()]
  assert len(set(signs)) == len(signs)


def test_faces_of_other_sizes_fill_their_tile(tmp_path):
  rows = [(tile(10, size=(56, 56)), [])]
  contact_sheet(rows, 'small', tmp_path / 'sheet.png')
  assert coloured(read(tmp_path / 'sheet.png'), [10] * 3) >= 112 * 112


@pytest.mark.parametrize('size', [(112, 96), (56, 48), (96, 112)])
def test_faces_keep_their_proportions(size, tmp_path):
  rows = [(tile(10, lines=('', ''), size=size), [])]
  contact_sheet(rows, '', tmp_path / 'sheet.png')
  face = (read(tmp_path / 'sheet.png') == 10).all(axis=-1)
  rows, columns = face.sum(axis=1), face.sum(axis=0)
  assert sorted([rows.max(), columns.max()]) == [96, 112]
  assert (rows.max() < columns.max()) == (size[1] < size[0])


def test_a_face_without_picture_is_named(tmp_path):
  rows = [(tile(10), [Tile(None, ('Ann', '0.5'))])]
  contact_sheet(rows, 'saved gallery', tmp_path / 'sheet.png')
  picture = read(tmp_path / 'sheet.png')
  assert coloured(picture, ImageColor.getrgb('#EEEEEE')) > 100 * 112


def test_long_names_stay_in_their_column(tmp_path):
  long = 'Wolfeschlegelsteinhausenbergerdorff Ω 張'
  rows = [(tile(0, lines=(long, long)), [tile(0, lines=('', ''))])]
  contact_sheet(rows, long * 5, tmp_path / 'sheet.png')
  picture = read(tmp_path / 'sheet.png')
  # Between the probe and its match, and at the right edge, nothing is written.
  assert (picture[:, 132:150] == 255)[34:].all()
  assert (picture[:, -8:] == 255).all()


def test_a_sheet_without_probes_is_refused(tmp_path):
  with pytest.raises(ValueError, match='at least one probe'):
    contact_sheet([], 'empty', tmp_path / 'sheet.png')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['Ann\nLee', 'Ann\r\x1bLee', '\n' * 40])
def test_a_line_break_in_a_name_is_a_sign(name, tmp_path):
  path = tmp_path / 'sheet.png'
  contact_sheet([(tile(10, lines=(name, '0.7')), [])], name, path)
  assert coloured(read(path), [10] * 3) >= 112 * 112
