"""Checks values against what a declaration allows, and blocks of the config.

What a field may hold is declared as `Annotated[type, allowed]`, where `allowed`
is an interval such as '[0, 1)', a `range` of whole numbers (`whole_from(1)` for
one without an end), or the accepted names.
"""

import inspect
import numbers
import operator
import sys
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, TypeVar

T = TypeVar('T')
Allowed = str | range | Collection[str]


def whole_from(least: int) -> range:
  """The whole numbers from `least` on."""
  return range(least, sys.maxsize)


def make_of_block(
  make: Callable[..., T], fields: Mapping[str, Any], *, block: str, owner: str
) -> T:
  """Calls `make` with the fields of a block of the config.

  Raises:
    ValueError: a field too many, too few, or of a wrong value; names it with
      its block.
  """
  check_fields(fields, make, block=block, owner=owner)
  try:
    return make(**fields)
  except ValueError as error:
    raise ValueError(f'{block}.{error}') from error


def check_fields(
  given: Iterable[str],
  make: Callable,
  *,
  block: str,
  owner: str,
  besides: Iterable[str] = (),
):
  """Refuses a field too many or too few: every default is in the config.

  Args:
    given: names of the fields in the block.
    make: called with them; those that have a default may be left out.
    block: its name, for messages, such as 'model.norm'.
    owner: whose fields they are, for messages.
    besides: parameters of `make` that do not come from this block.

  Raises:
    ValueError: naming the field, and those that there are.
  """
  given, besides = set(given), set(besides)
  parameters = inspect.signature(make).parameters.values()
  known = {parameter.name for parameter in parameters} - besides
  wanted = {p.name for p in parameters if p.default is p.empty} - besides
  for names, problem in (
    (given - known, 'is no field of'),
    (wanted - given, 'is missing from the fields of'),
  ):
    if names:
      raise ValueError(
        f'{block}.{min(names)} {problem} {owner}; it has '
        f'{", ".join(sorted(known)) or "none"}'
      )


def check_values(declared: Any, block: str = ''):
  """Refuses a value that its field's annotation does not allow.

  Args:
    declared: an instance of the class with the annotations.
    block: of the config, with a point behind it, for messages.

  Raises:
    ValueError: naming the field, its value, and what it may be.
  """
  hints = typing.get_type_hints(type(declared), include_extras=True)
  for name, hint in hints.items():
    if typing.get_origin(hint) is Annotated:
      check_value(f'{block}{name}', getattr(declared, name), *hint.__metadata__)


def check_value(name: str, value: Any, allowed: Allowed):
  """Refuses a value that is not allowed.

  >>> check_value('rate', 0.5, '[0, 1)')
  >>> check_value('batch_size', 0, whole_from(1))
  Traceback (most recent call last):
  ValueError: batch_size is 0; give a whole number, 1 or more

  Raises:
    ValueError: naming the value and what it may be.
  """
  if not _allows(allowed, value):
    raise ValueError(f'{name} is {value!r}; {_describe(allowed)}')


def _allows(allowed: Allowed, value: Any) -> bool:
  if isinstance(allowed, str):
    if not isinstance(value, numbers.Real):
      return False
    low, high = map(float, allowed[1:-1].split(','))
    return (low < value or (allowed[0] == '[' and value == low)) and (
      value < high or (allowed[-1] == ']' and value == high)
    )
  if isinstance(allowed, range):
    try:
      # 4.0 is in a range, but is no whole number.
      return operator.index(value) in allowed
    except TypeError:
      return False
  return value in allowed


def _describe(allowed: Allowed) -> str:
  if isinstance(allowed, range):
    if allowed.stop == sys.maxsize:
      return f'give a whole number, {allowed[0]} or more'
    return f'choose a whole number from {allowed[0]} to {allowed[-1]}'
  if not isinstance(allowed, str):
    return f'choose one of {", ".join(map(str, allowed))}'
  low, high = allowed[1:-1].split(', ')
  if high != 'inf':
    return f'it lies in {allowed}'
  return f'it is {low} or more' if allowed[0] == '[' else f'it is above {low}'
