"""The files that the pages name and link to exist."""

import re

import pytest
from settings import ROOT

PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
FOLDERS = [
  ROOT / name for name in ('faceqat', 'configs', 'benchmarks', 'tests')
]
# Named with the commit that had it.
GONE = {'evaluators/bootstrap.py'}


def missing(page) -> list[str]:
  """Names in backquotes, and targets of links."""
  text = page.read_text()
  named = {*re.findall(r'`([\w/]+\.py)`', text)} - GONE
  lost = [
    name
    for name in named
    if 'NAME' not in name
    and not (ROOT / name).exists()
    and not any(path for folder in FOLDERS for path in folder.rglob(name))
  ]
  links = re.findall(r'\]\(([\w/.]+)[)#]', text)
  return sorted([*lost, *(x for x in links if not (page.parent / x).exists())])


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page):
  assert missing(page) == []


def test_a_missing_file_is_found(tmp_path):
  page = tmp_path / 'page.md'
  page.write_text('`quant/spec.py`, `quant/gone.py`, [a](b.md), [c](http://d)')
  assert missing(page) == ['b.md', 'quant/gone.py']
