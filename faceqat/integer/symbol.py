"""Symbols: a model is called on one when it is recorded.

A symbol stands for an activation of the program being recorded. Only the
functions of `tracing` take it. Whatever else is done to it raises a TypeError,
of its own or of Python or a library; `explain` makes those say which line of
the model did it, and which operators there are.
"""

import linecache
import pathlib
import traceback

from faceqat.integer.operators import OPERATORS
from faceqat.integer.tensors import Tensor

_LIBRARIES = ('jax', 'jaxlib', 'numpy', 'flax')


class UnsupportedOperationError(TypeError, AttributeError):
  """An operation that has no integer form met a symbol.

  It is an AttributeError too, so that `hasattr(symbol, 'aval')` stays False.
  """

  def __init__(self, operation: str, symbol: str):
    super().__init__(
      f'{operation} has no integer form: it was applied to {symbol}, which is '
      'being recorded into an integer program. The operators of such a program '
      f'are {", ".join(sorted(OPERATORS))}; the layers of faceqat.quant.layers '
      'record them'
    )


def explain(error: TypeError) -> TypeError | None:
  """The error to raise in place of a library's, which names the type it got.

  It names the line of the model. None where the error is about something else.
  """
  if isinstance(error, UnsupportedOperationError):
    return None
  if Symbol.__name__ not in str(error):
    return None
  place = 'A library function'
  for frame, line_number in traceback.walk_tb(error.__traceback__):
    module = frame.f_globals.get('__name__', '')
    if module.startswith(__package__):
      place = None  # Our own complaint, unless a deeper frame follows.
    elif module.split('.')[0] not in _LIBRARIES:
      file = frame.f_code.co_filename
      line = linecache.getline(file, line_number).strip()
      place = f'`{line}` ({pathlib.PurePath(file).name}:{line_number})'
  return None if place is None else UnsupportedOperationError(place, 'a symbol')


class Symbol:
  """An activation of a program under construction.

  Attributes:
    tensor: its name, shape, scale and zero point.
    tape: where operators on it are written down; one per trace.
  """

  __slots__ = ('tape', 'tensor')
  __hash__ = object.__hash__

  def __init__(self, tensor: Tensor, tape):
    self.tensor = tensor
    self.tape = tape

  def __repr__(self):
    return f'Symbol({self.tensor.name!r}, shape={self.shape})'

  @property
  def shape(self) -> tuple[int | None, ...]:
    """(None, *tensor.shape): the batch is open."""
    return (None, *self.tensor.shape)

  @property
  def ndim(self) -> int:
    return len(self.shape)

  def __array__(self, *unused_args, **unused_kwargs):
    raise UnsupportedOperationError('Conversion to a numpy array', repr(self))

  def __array_ufunc__(self, ufunc, *unused_args, **unused_kwargs):
    raise UnsupportedOperationError(f'numpy.{ufunc.__name__}', repr(self))

  def __array_function__(self, function, *unused_args, **unused_kwargs):
    raise UnsupportedOperationError(f'numpy.{function.__name__}', repr(self))

  def __getattr__(self, name: str):
    raise UnsupportedOperationError(f'Attribute .{name}', repr(self))

  # Python answers these without an error.

  def __eq__(self, other):
    raise UnsupportedOperationError('Comparison', repr(self))

  def __bool__(self):
    raise UnsupportedOperationError('Truth value', repr(self))
