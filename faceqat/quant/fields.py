"""Which fields a block of the config has: those of the class that it fills."""

import dataclasses
from collections.abc import Iterable


def check_fields(
  given: Iterable[str],
  kind: type,
  *,
  block: str,
  owner: str,
  besides: Iterable[str] = (),
):
  """Refuses a field too many or too few: every default is in the config.

  Args:
    given: names of the fields in the block.
    kind: the dataclass that they fill.
    block: its name, for messages, such as 'model.norm'.
    owner: whose fields they are, for messages.
    besides: fields of `kind` that do not come from this block.

  Raises:
    ValueError: naming the field, and those that there are.
  """
  given = set(given)
  wanted = {field.name for field in dataclasses.fields(kind)} - {*besides}
  for names, problem in (
    (given - wanted, 'is no field of'),
    (wanted - given, 'is missing from the fields of'),
  ):
    if names:
      raise ValueError(
        f'{block}.{min(names)} {problem} {owner}; it has '
        f'{", ".join(sorted(wanted))}'
      )
