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


def _is_count(value: Any) -> bool:
  return type(value) is int and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
  return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
  return value is None or isinstance(value, str)


def _is_span(value: Any) -> bool:
  return (
    isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
  )


_AGREEMENT = {
  'images': _is_count,
  'cosine_mean': _is_number,
  'cosine_p1': _is_number,
}
_LAYER = {
  'name': _is_text,
  'lost': _is_ratio,
  'float_to_fake': _is_ratio,
  'float_to_integer': _is_ratio,
  'bits': _is_count,
  'range': _is_span,
  'float_range': _is_span,
  'clipped': _is_number,
  'fake_to_integer_differing': _is_number,
}
_EXPORT = {
  'contract': _is_text_or_none,
  'bytes': _is_count,
  'outputs': _is_count,
  'differing': _is_count,
  'largest': _is_number,
  'milliseconds': _is_number,
}


def results(rows: Mapping[str, Any]) -> dict[str, dict[str, float]]:
  """Of results.json, by precision and name; None becomes NaN.

  Raises:
    ValueError: names the field that is not a number.
  """
  for precision, row in _objects(rows.items()):
    for name, value in row.items():
      _require(value, _is_ratio, f'{precision}: {name}')
  return {
    precision: {k: math.nan if v is None else v for k, v in row.items()}
    for precision, row in rows.items()
  }


def check_agreement(fields: Mapping[str, Any]):
  """Of agreement.json.

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
  """Of exactness.json.

  Raises:
    ValueError: names the field that is missing or wrong.
  """
  for name, row in _objects(rows.items()):
    _check(row, _EXPORT, f'{name}: ')


def check_curve(fields: Mapping[str, Any]):
  """Of a line of metrics.jsonl, whose numbers need not be finite.

  Raises:
    ValueError: names the field that is missing or wrong.
  """
  _check(fields, {'step': _is_count}, '')
  for name, value in fields.items():
    _require(value, lambda x: isinstance(x, float) or _is_number(x), name)


def _objects(items) -> Iterator[tuple[str, dict]]:
  for name, row in items:
    _require(row, lambda value: isinstance(value, dict), name)
    yield name, row


def _check(fields: Mapping[str, Any], wanted: Mapping[str, Check], where: str):
  for name, is_right in wanted.items():
    if name not in fields:
      raise ValueError(f'{where}{name} is missing')
    _require(fields[name], is_right, f'{where}{name}')


def _require(value: Any, is_right: Check, name: str):
  if not is_right(value):
    raise ValueError(f'{name} is a wrong {type(value).__name__}')
