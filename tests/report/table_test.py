import doctest

from faceqat.report import table
from faceqat.report.table import Table


def test_the_example_is_what_is_printed():
  assert doctest.testmod(table) == (0, 1)


def test_names_stand_to_the_left_and_numbers_to_the_right():
  printed = Table(
    ['run', 'accuracy %', ''],
    [['first run', '99.4 ± 0.1', ''], ['b', '-', '<- worst'], ['1e2', '', '']],
  )
  assert str(printed).split('\n') == [
    'run        accuracy %',
    '---------  ----------  --------',
    'first run  99.4 ± 0.1',
    'b                   -  <- worst',
    '1e2',
  ]
