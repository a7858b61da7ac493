"""What the pages say the code prints, it prints."""

import doctest

import pytest
from settings import ROOT

DOCS = ROOT / 'docs'


@pytest.mark.parametrize('page', ['integer_arithmetic.md'])
def test_examples_of_a_page_print_what_it_shows(page):
  failed, attempted = doctest.testfile(str(DOCS / page), module_relative=False)
  assert attempted
  assert not failed
