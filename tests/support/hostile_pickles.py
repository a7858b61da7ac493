"""Pickles that ask for more than their format needs, and damaged files."""

import collections
import functools
import os
import pickle

import numpy as np
import pytest

# A function, its arguments, and the name by which a reader refuses it. `{}` is
# a file that must not appear.
CALLS = [
  (os.system, ('touch {}',), r'(posix|nt)\.system'),
  (eval, ("open('{}', 'w').close()",), r'\w+\.eval'),
  (exec, ("open('{}', 'w').close()",), r'\w+\.exec'),
  (open, ('{}', 'w'), r'\w+\.open'),
  (np.save, ('{}', [1]), r'numpy\.\w+'),
  (np.memmap, ('{}', 'u1', 'w+', 0, (4,)), r'numpy\.memmap'),
  (np.fromfile, ('{}',), r'numpy\.\w+'),
  (np.load, ('{}', None, True), r'numpy\.\w+'),
  (np.ndarray.tofile, (np.zeros(3, np.uint8), '{}'), ''),
  (getattr, ('text', 'upper'), r'\w+\.getattr'),
  (__import__, ('os',), r'\w+\.__import__'),
  (functools.partial, (print, '{}'), r'functools\.partial'),
  (collections.deque, ([1],), r'collections\.deque'),
  (pickle.loads, (b'N.',), r'_?pickle\.loads'),
]
# A tuple of itself twice, again and again: 2^22 ends in 110 bytes.
SHARED = b')' + b'q\x00h\x00\x86' * 22


class Call:
  """Pickles as a call of `function`, with `target` in place of `{}`."""

  def __init__(self, function, args, target=''):
    self._reduced = (
      function,
      tuple(
        argument.replace('{}', str(target))
        if isinstance(argument, str)
        else argument
        for argument in args
      ),
    )

  def __reduce__(self):
    return self._reduced


def named(module: str, name: str) -> bytes:
  """The instruction that pushes a name."""
  return f'c{module}\n{name}\n'.encode()


def check_truncations(read, data: bytes, message: str, lengths=None):
  """Whatever is cut off, reading the rest is an error with this message."""
  for length in range(len(data)) if lengths is None else lengths:
    with pytest.raises(ValueError, match=message):
      read(data[:length])


def check_flips(read, data: bytes, count: int, is_right, name: str):
  """Reading a file with one bit flipped is right, or an error with its name."""
  rng = np.random.default_rng(0)
  outcomes = set()
  for _ in range(count):
    damaged = bytearray(data)
    damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
    # Any other exception ends the test.
    try:
      outcomes.add(bool(is_right(read(bytes(damaged)))))
    except ValueError as error:
      outcomes.add('refused' if name in str(error) else 'unnamed')
  assert outcomes == {True, 'refused'}
