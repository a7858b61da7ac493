import json
import re

import numpy as np
import pytest
from absl import flags

from faceqat import command
from faceqat.files import image_size


@pytest.mark.parametrize(
  ('size', 'pair'),
  [
    (112, (112, 112)),
    ((112, 96), (112, 96)),
    # As JSON gives it back.
    ([112, 96], (112, 96)),
    ((np.int64(112), np.int32(96)), (112, 96)),
  ],
)
def test_a_number_is_a_square_and_two_are_a_height_and_a_width(size, pair):
  found = image_size.height_width(size)
  assert found == pair
  assert [type(side) for side in found] == [int, int]
  assert image_size.shown_size(size) == f'{pair[0]}x{pair[1]}'
  text = image_size.to_text(size)
  assert text == ('112' if size == 112 else '112,96')
  for read in (
    image_size.of_text(text),
    json.loads(json.dumps(image_size.to_json(size))),
  ):
    assert image_size.height_width(read) == pair


def test_a_square_is_written_as_ever():
  assert image_size.to_json((112, 112)) == 112
  assert image_size.to_text((112, 112)) == '112'


@pytest.mark.parametrize(
  'size',
  [
    *(0, -112, 112.0, True, None, '112x96', '96', (), (112,), (112, 96, 3)),
    *((112, 0), (112, '96'), (112, False), {'height': 112, 'width': 96}),
  ],
)
def test_what_is_no_size_is_named_with_what_is_one(size):
  message = re.escape(f'size is {size!r}, wanted a number of pixels, such as 1')
  with pytest.raises(ValueError, match=rf'^{message}.*width, such as \('):
    image_size.height_width(size, 'size')


@pytest.mark.parametrize('text', ['', 'abc', '112x96', '112,', '1.5', '1,x'])
def test_a_text_that_is_no_numbers_is_named(text):
  with pytest.raises(ValueError, match=f'^{text!r} is no .* such as 112,96$'):
    image_size.of_text(text)


@pytest.mark.parametrize(
  ('one', 'other', 'same'),
  [
    (112, 56, True),
    ((112, 96), (112, 96), True),
    ((112, 96), (56, 48), True),
    # Half of 96 pixels, and of 111.
    ((56, 48), (111, 96), True),
    ((16, 14), (112, 96), True),
    ((112, 96), 112, False),
    ((112, 96), (96, 112), False),
    ((56, 48), 56, False),
    ((112, 100), (112, 96), False),
  ],
)
def test_proportions_are_compared_to_a_pixel(one, other, same):
  assert image_size.same_proportions(one, other) is same
  assert image_size.same_proportions(other, one) is same


def test_a_flag_takes_both_forms():
  values = flags.FlagValues()
  parser = command._SizeParser()
  flags.DEFINE(parser, 'size', None, 'help', values)
  values(['program'])
  assert values.size is None
  for text, size in (('56', 56), ('112,96', (112, 96)), ('0', 0)):
    values(['program', f'--size={text}'])
    assert values.size == size
  with pytest.raises(flags.IllegalFlagValueError, match=r"size=a: 'a' is no"):
    values(['program', '--size=a'])
