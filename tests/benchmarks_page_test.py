"""docs/benchmarks.md has a row for every benchmark that can be run."""

import re

import pytest
from settings import ROOT

PAGE = ROOT / 'docs' / 'benchmarks.md'
ROW = re.compile(r'^\| `benchmarks\.(\w+)` \| \S.* \|$', re.MULTILINE)
LINK = re.compile(r'\]\(([\w.]+)#([\w-]+)\)')


def anchors(page) -> set[str]:
  """The headings of a page as GitHub names them in links."""
  headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
  return {
    re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
    for heading in headings
  }


def test_every_benchmark_has_one_row():
  runnable = [
    path.stem
    for path in (ROOT / 'benchmarks').glob('*.py')
    if re.search(r"^if __name__ == '__main__'", path.read_text(), re.MULTILINE)
  ]
  assert sorted(ROW.findall(PAGE.read_text())) == sorted(runnable)


def test_links_lead_to_headings():
  links = LINK.findall(PAGE.read_text())
  assert len(links) > 10
  lost = [
    f'{page}#{anchor}'
    for page, anchor in links
    if anchor not in anchors(PAGE.parent / page)
  ]
  assert lost == []


@pytest.mark.parametrize(
  'row', ['| `benchmarks.none` |  | a page |', '| benchmarks.none | a | b |']
)
def test_a_row_has_a_command_and_what_it_makes(row):
  assert ROW.findall(row) == []
