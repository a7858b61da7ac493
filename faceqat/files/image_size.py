"""The size of an image: 112 is a square, (112, 96) a height and a width.

Functions that take a size take both forms, and `height_width` makes a pair.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

ImageSize = int | Sequence[int]


def height_width(size: ImageSize, name: str = 'image_size') -> tuple[int, int]:
  """The height and the width of a size, in pixels.

  >>> height_width(112), height_width((112, 96))
  ((112, 112), (112, 96))

  Args:
    size: one number for both, or the two.
    name: of the size, for messages.

  Raises:
    ValueError: it is neither, or a number is below 1.
  """
  sides = size if isinstance(size, tuple | list) else (size, size)
  if len(sides) != 2 or not all(map(_is_side, sides)):
    raise ValueError(
      f'{name} is {size!r}, wanted a number of pixels, such as 112, or the '
      'height and the width, such as (112, 96)'
    )
  height, width = sides
  return int(height), int(width)


def to_json(size: ImageSize) -> int | list[int]:
  """For JSON: one number for a square."""
  height, width = height_width(size)
  return height if height == width else [height, width]


def to_text(size: ImageSize) -> str:
  """For metadata and flags: '112', '112,96'."""
  height, width = height_width(size)
  return str(height) if height == width else f'{height},{width}'


def of_text(text: str) -> int | tuple[int, ...]:
  """Reads the text of `to_text`, or a user's; the numbers may be no size.

  Raises:
    ValueError: it is not numbers with commas between them.
  """
  try:
    numbers = tuple(int(part) for part in text.split(','))
  except ValueError:
    raise ValueError(
      f'{text!r} is no number of pixels, such as 112, nor a height and a '
      'width, such as 112,96'
    ) from None
  return numbers[0] if len(numbers) == 1 else numbers


def shown_size(size: ImageSize) -> str:
  """For messages, height first: '112x96'."""
  height, width = height_width(size)
  return f'{height}x{width}'


def same_proportions(one: ImageSize, other: ImageSize) -> bool:
  """Whether one is the other scaled, but for rounding to pixels."""
  (height, width), (other_height, other_width) = map(height_width, (one, other))
  # Less than a pixel of the smaller one.
  return abs(width * other_height - other_width * height) < max(
    height, other_height
  )


def _is_side(value: Any) -> bool:
  return (
    isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
  )
