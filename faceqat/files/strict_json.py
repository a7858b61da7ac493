"""Reads JSON; every fault is a ValueError with a short reason.

`json` itself raises RecursionError where lists are nested deep, and returns any
kind of value where a caller wants an object. Callers name the file and the
remedy.
"""

import json
from typing import Any

_NAMES = {dict: 'an object', list: 'a list', object: 'a value'}


class NoJSONError(ValueError):
  """The text is no JSON."""


def parse(content: bytes | str, kind: type = object) -> Any:
  """Reads JSON.

  Args:
    content: the text, or its bytes in UTF-8, -16 or -32.
    kind: what it has to be: dict, list, or object for any value.

  Raises:
    ValueError: it is no JSON (`NoJSONError`), nested too deep, or of another
      kind.
  """
  try:
    value = json.loads(content)
  except RecursionError:
    raise ValueError('its JSON is nested too deep') from None
  except ValueError as error:
    raise NoJSONError(f'it is no JSON: {error}') from error
  if not isinstance(value, kind):
    raise ValueError(
      f'its JSON is of type {type(value).__name__}, wanted {_NAMES[kind]}'
    )
  return value
