"""Symbols: a model is called on one when it is recorded.

A symbol stands for an activation of the program being recorded. Only the
functions of `record` take it; anything else done to it raises a TypeError that
names the operation, and the operators that there are.
"""

import linecache
import pathlib
import traceback

from faceqat.integer.operators import OPERATORS
from faceqat.integer.tensors import Tensor

_EXISTING = (
  f'The operators of such a program are {", ".join(sorted(OPERATORS))}; the '
  'layers of faceqat.quant.layers record them'
)
_LIBRARIES = ('jax', 'jaxlib', 'numpy', 'flax')


class UnsupportedOperationError(TypeError, AttributeError):
  """An operation that has no integer form met a symbol.

  It is an AttributeError too, so that `hasattr(symbol, 'aval')` stays False.
  """


def _unsupported(operation: str, symbol: 'Symbol') -> Exception:
  return UnsupportedOperationError(
    f'{operation} has no integer form: it was applied to {symbol!r}, which is '
    f'being recorded into an integer program. {_EXISTING}'
  )


def explain(error: TypeError) -> TypeError | None:
  """What to raise for a library's complaint that it cannot take a symbol.

  The library names the type it got; what the user needs is the line of the
  model that called it. None where the error is about something else.
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
  if place is None:
    return None
  return UnsupportedOperationError(
    f'{place} has no integer form: it was applied to a symbol, which is being '
    f'recorded into an integer program. {_EXISTING}'
  )


def _refusal(operation: str):
  def refuse(self, *unused_args, **unused_kwargs):
    raise _unsupported(operation, self)

  return refuse


class Symbol:
  """An activation of a program under construction.

  Attributes:
    tensor: its name, shape, scale and zero point.
    recorder: where operators on it are written down; one per trace.
  """

  __slots__ = ('recorder', 'tensor')
  __hash__ = object.__hash__

  def __init__(self, tensor: Tensor, recorder):
    self.tensor = tensor
    self.recorder = recorder

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
    raise _unsupported('Conversion to a numpy array', self)

  def __array_ufunc__(self, ufunc, *unused_args, **unused_kwargs):
    raise _unsupported(f'numpy.{ufunc.__name__}', self)

  def __array_function__(self, function, *unused_args, **unused_kwargs):
    raise _unsupported(f'numpy.{function.__name__}', self)

  def __getattr__(self, name: str):
    raise _unsupported(f'Attribute .{name}', self)


_OPERATORS = {
  'Operator +': ('__add__', '__radd__', '__iadd__', '__pos__'),
  'Operator -': ('__sub__', '__rsub__', '__isub__', '__neg__'),
  'Operator *': ('__mul__', '__rmul__', '__imul__'),
  'Operator @': ('__matmul__', '__rmatmul__', '__imatmul__'),
  'Operator /': ('__truediv__', '__rtruediv__', '__itruediv__'),
  'Operator //': ('__floordiv__', '__rfloordiv__', '__ifloordiv__'),
  'Operator %': ('__mod__', '__rmod__', '__imod__'),
  'Operator **': ('__pow__', '__rpow__', '__ipow__'),
  'divmod()': ('__divmod__', '__rdivmod__'),
  'Operator <<': ('__lshift__', '__rlshift__', '__ilshift__'),
  'Operator >>': ('__rshift__', '__rrshift__', '__irshift__'),
  'Operator &': ('__and__', '__rand__', '__iand__'),
  'Operator |': ('__or__', '__ror__', '__ior__'),
  'Operator ^': ('__xor__', '__rxor__', '__ixor__'),
  'Operator ~': ('__invert__',),
  'abs()': ('__abs__',),
  'round()': ('__round__',),
  'Comparison': ('__eq__', '__ne__', '__lt__', '__le__', '__gt__', '__ge__'),
  'Indexing [...]': ('__getitem__', '__setitem__', '__delitem__'),
  'Iteration': ('__iter__', '__len__', '__contains__', '__reversed__'),
  'Truth value (if, while, and, or, not)': ('__bool__',),
  'float()': ('__float__',),
  'int()': ('__int__', '__index__'),
  'complex()': ('__complex__',),
}
for _name, _methods in _OPERATORS.items():
  for _method in _methods:
    setattr(Symbol, _method, _refusal(_name))
