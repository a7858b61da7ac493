"""Checks the fields of the JSON files of a run."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Check = Callable[[Any], bool]


def _is_number(value: Any) -> bool:
  # An int of JSON may have thousands of digits, which no float holds.
  return type(value) in (int, float) and -1e300 < value < 1e300


def _is_ratio(value: Any) -> bool:
  # None is infinite; the difference of two such is NaN.
  return value is None or isinstance(value, float) or _is_number(value)


_KINDS: dict[str, Check] = {
  'a number': _is_number,
  'a number or null': _is_ratio,
  'a number, NaN or infinite': lambda x: isinstance(x, float) or _is_number(x),
  'a count': lambda x: type(x) is int and 0 <= x < 2**63,
  'a text': lambda x: isinstance(x, str),
  'a text or null': lambda x: x is None or isinstance(x, str),
  'two numbers': lambda x: (
    isinstance(x, list) and len(x) == 2 and all(map(_is_number, x))
  ),
  'an object': lambda x: isinstance(x, dict),
}
_AGREEMENT = {
  'images': 'a count',
  'cosine_mean': 'a number',
  'cosine_p1': 'a number',
}
_LAYER = {
  'name': 'a text',
  'lost': 'a number or null',
  'float_to_fake': 'a number or null',
  'float_to_integer': 'a number or null',
  'bits': 'a count',
  'range': 'two numbers',
  'float_range': 'two numbers',
  'clipped': 'a number',
  'fake_to_integer_differing': 'a number',
}
_EXPORT = {
  'contract': 'a text or null',
  'bytes': 'a count',
  'outputs': 'a count',
  'differing': 'a count',
  'largest': 'a number',
  'milliseconds': 'a number',
}


def results(rows: Mapping[str, Any]) -> dict[str, dict[str, float]]:
  """The figures of results.json, by precision and name; None becomes NaN.

  Raises:
    ValueError: names the field that is not a number.
  """
  for precision, row in _objects(rows.items()):
    for name, value in row.items():
      _require(value, 'a number or null', f'{precision}: {name}')
  return {
    precision: {k: math.nan if v is None else v for k, v in row.items()}
    for precision, row in rows.items()
  }


def check_agreement(fields: Mapping[str, Any]):
  """Checks the fields of agreement.json.

  Raises:
    ValueError: names the field that is missing or wrong.
  """
  _check(fields, _AGREEMENT, '')
  layers = fields.get('layers')
  if not isinstance(layers, list) or not layers:
    raise ValueError('layers is missing or no list of layers')
  for name, layer in _objects((f'layer {i}', x) for i, x in enumerate(layers)):
    _check(layer, _LAYER, f'{name}: ')


def check_exactness(rows: Mapping[str, Any]):
  """Checks the fields of exactness.json.

  Raises:
    ValueError: names the field that is missing or wrong.
  """
  for name, row in _objects(rows.items()):
    _check(row, _EXPORT, f'{name}: ')


def check_curve(fields: Mapping[str, Any]):
  """Checks a line of metrics.jsonl, whose numbers need not be finite.

  Raises:
    ValueError: names the field that is missing or wrong.
  """
  _check(fields, {'step': 'a count'}, '')
  for name, value in fields.items():
    _require(value, 'a number, NaN or infinite', name)


def _objects(items) -> Iterator[tuple[str, dict]]:
  for name, row in items:
    _require(row, 'an object', name)
    yield name, row


def _check(fields: Mapping[str, Any], wanted: Mapping[str, str], where: str):
  for name, kind in wanted.items():
    if name not in fields:
      raise ValueError(f'{where}{name} is missing')
    _require(fields[name], kind, f'{where}{name}')


def _require(value: Any, kind: str, name: str):
  if not _KINDS[kind](value):
    raise ValueError(f'{name} is a {type(value).__name__}, wanted {kind}')
