"""A figure of the pages that does not come out is found."""

import pytest

from benchmarks import check_figures, page_tables, smoke_configs
from benchmarks.check_figures import Figure

PAGE = """
| network | precision | accuracy % | bytes | |
| --- | --- | --- | --- | --- |
| `y1`, calibrated | float | 99.38 ± 0.16 | 4,118,416 | |
| | integer | **99.33** [98.97, 99.61] | 1,108,728 | +0.02 |
| group | float alone ||||

```text
format    contract      bytes  differing
--------  ----------  -------  ---------
program   tflite_ref  943,752          0
onnx_qdq        none  999,916      2,343
```

| precision | parameters |
| --- | --- |
| float | 0.85 M |
"""


def verdicts(*figures, page=PAGE):
  return check_figures.compare({'page.md': page}, list(figures))


def test_rows_of_a_page_are_read_with_their_titles_and_lines():
  rows = page_tables.read_rows(PAGE)
  assert [row.line for row in rows] == [4, 5, 6, 11, 12, 17]
  assert rows[1].cells == {
    'network': '`y1`, calibrated',
    'precision': 'integer',
    'accuracy %': '**99.33** [98.97, 99.61]',
    'bytes': '1,108,728',
    '': '+0.02',
  }
  assert rows[4].cells['contract'] == 'none'
  assert rows[4].cells['differing'] == '2,343'
  assert rows[1].is_of('y1')
  assert not rows[1].is_of('y')


@pytest.mark.parametrize(
  ('figure', 'line', 'stale'),
  [
    (Figure(('y1', 'integer'), 'bytes', 1_108_728), 5, False),
    (Figure(('y1', 'integer'), 'bytes', 1_108_696), 5, True),
    (Figure(('y1', 'integer'), 'bytes', 1_108_696, 40), 5, False),
    (Figure(('y1', 'integer'), 'accuracy.*', 99.3833, 0.05), 5, False),
    (Figure(('y1', 'integer'), 'accuracy.*', 99.4, 0.05), 5, True),
    # Of what is exact the stated digits have to be equal.
    (Figure(('y1', 'float'), 'accuracy.*', 99.3833), 4, False),
    (Figure(('y1', 'float'), 'accuracy.*', 99.3866), 4, True),
    (Figure(('program', 'tflite_ref'), 'differing', 0), 11, False),
    (Figure(('program', 'tflite_ref'), 'differing', 1), 11, True),
    (Figure(('float',), 'parameters', 0.8548), 17, False),
  ],
)
def test_a_stale_figure_is_found_where_it_stands(figure, line, stale):
  (verdict,) = verdicts(figure)
  assert (verdict.page, verdict.line) == ('page.md', line)
  assert verdict.stale == stale
  assert ('STALE' in check_figures.line_of(verdict)) == stale


def test_rows_are_told_apart_by_what_they_and_their_tables_lack():
  assert len(verdicts(Figure(('float',), 'bytes', 1))) == 1
  assert not verdicts(Figure(('float',), 'bytes', 1, without=('y1',)))
  assert not verdicts(Figure(('float',), 'bytes', 1, beside='threshold'))


def test_a_row_that_convert_prints_is_compared_with_the_pages():
  """With its text as it is, each figure is equal; with another, it is not."""
  (row, _) = page_tables.read_rows(
    'format   contract      bytes  outputs  differing  largest\n'
    '-------  ----------  -------  -------  ---------  -------\n'
    'program  tflite_ref  943,752    4,096          0        0\n'
    'onnx           none  999,916    4,096      2,343        5\n'
  )
  page = """
| | format | contract | bytes | outputs | differing | largest |
| --- | --- | --- | --- | --- | --- | --- |
| int8 | program | `tflite_ref` | 943,704 | 4,096 | 0 | 0 |
| int4 weights | program | `tflite_ref` | 544,520 | 4,096 | 0 | 0 |
"""
  figures = list(check_figures.exported('int8', row))
  found = verdicts(*figures, page=page)
  # A few digits of the header are no difference; one more output is.
  assert [verdict.line for verdict in found] == [4] * 4
  assert not any(verdict.stale for verdict in found)
  found = verdicts(*figures, page=page.replace('4,096 | 0', '4,095 | 1'))
  assert sum(verdict.stale for verdict in found) == 2


def test_the_pages_state_the_sizes_of_their_networks(monkeypatch):
  """Of two of them; the command goes through all."""
  names = ('float y1', 'int8 QAT')
  networks = {name: check_figures.NETWORKS[name] for name in names}
  monkeypatch.setattr(check_figures, 'NETWORKS', networks)
  monkeypatch.setattr(smoke_configs, 'find_configs', lambda: ['mbv2_int8'])
  pages = check_figures.read_pages()
  figures = list(check_figures.check_counts())
  found = check_figures.compare(pages, figures)
  assert {verdict.page for verdict in found} == {
    *('docs/pretrained.md', 'docs/results.md')
  }
  assert [verdict for verdict in found if verdict.stale] == []
  # A network of another size would be seen.
  wider = [figure._replace(value=1.01 * figure.value) for figure in figures]
  assert any(verdict.stale for verdict in check_figures.compare(pages, wider))


def test_what_commands_print_is_found_in_the_pages(monkeypatch):
  """What they print is that of the pages, but for a figure of each."""
  printed = {
    'benchmarks.linear_baseline': """
pixels                   accuracy 54.83 % ± 3.36, AUC 0.6232
LDA on 100 components    accuracy 74.83 % ± 2.04, AUC 0.8329
LDA on 300 components    accuracy 79.17 % ± 2.57, AUC 0.8460
""",
    'benchmarks.smoke_configs': """
| config | parameters | multiply-adds | smoke form, s | more | bytes | outputs |
|---|---|---|---|---|---|---|
| `mbv2_fp32` | 0.85 M | 26 M | 23 | 9 | 604,632 | 1,024 |
| `resnet50_arcface_gn` | 43.60 M | 6,312 M | 32 | 9 | float alone | | | |
| `mbv2_int8` | 0.85 M | 26 M | 32 | 9 | 604,640 | 1,023 |
""",
  }
  pages = {
    'page.md': """
| | accuracy % | AUC |
| --- | --- | --- |
| raw pixels, cosine | 54.83 ± 3.36 | 0.6232 |
| linear discriminant on 100 principal components | 74.83 | 0.8329 |
| on 300 | 74.17 ± 2.57 | 0.8460 |

| config | smoke form, s | bytes | outputs |
| --- | --- | --- | --- |
| `mbv2_fp32` | 23 | 604,640 | 1,024 |
| `mbv2_int8` | 32 | 604,640 | 1,024 |
"""
  }
  monkeypatch.setattr(check_figures, 'run_module', printed.__getitem__)
  stale = {}
  for check in (check_figures.check_linear, check_figures.check_smoke):
    found = check_figures.compare(pages, list(check()))
    stale[len(found)] = [verdict.line for verdict in found if verdict.stale]
  # Accuracy and AUC of three methods; bytes and outputs of two configs.
  assert stale == {6: [6], 4: [11]}
