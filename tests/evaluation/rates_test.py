"""The false-match rates of an evaluation: written, compared and by group."""

import pytest
from drawn_embeddings import draw

from faceqat.evaluation import rates
from faceqat.evaluators import group_rates, rate_table

_DIGESTS = {
  'float': {'network': 'ab', 'program': ''},
  'integer': {'network': '', 'program': 'cd'},
}


@pytest.fixture
def drawn():
  pair_set, embedded = draw()
  return pair_set, {'float': embedded, 'integer': embedded}


def test_each_precision_with_a_digest_has_a_table(drawn, tmp_path, capsys):
  pair_set, embedded = drawn
  found = rates.measure(pair_set, embedded, _DIGESTS, tmp_path, full=True)
  assert list(found) == ['float', 'integer']
  assert rate_table.load_measured(tmp_path) == found
  printed = capsys.readouterr().out
  threshold = rate_table.default_row(found['integer']).threshold
  (line,) = (x for x in printed.splitlines() if x.endswith('default'))
  assert line.startswith(f'{threshold:.4f}')
  rates.measure(pair_set, embedded, _DIGESTS, tmp_path)
  printed = capsys.readouterr().out
  assert f'reach {threshold:.4f}, the default threshold; other' in printed
  # A network in float alone, and then one whose pairs are too few.
  only = {'float': embedded['float']}
  assert list(rates.measure(pair_set, only, _DIGESTS, tmp_path)) == ['float']
  few = draw(num_people=4)
  assert rates.measure(few[0], {'float': few[1]}, _DIGESTS, tmp_path) == {}
  assert 'without false-match rates: DRAWN has too' in capsys.readouterr().out
  assert rate_table.load_measured(tmp_path) == {}


def test_another_set_that_breaks_a_promise_is_warned_of(
  drawn, tmp_path, capsys
):
  stated = rates.measure(*drawn, _DIGESTS, tmp_path)
  other, embedded = draw(seed=1)
  rates.compare(stated, other, {'integer': embedded})
  assert 'WARNING' not in capsys.readouterr().out
  # All faces are more alike.
  alike = embedded._replace(images=embedded.images + 1.5)
  rates.compare(stated, other, {'integer': alike})
  printed = capsys.readouterr().out
  assert 'false-match rates of DRAWN on DRAWN, integer:' in printed
  assert 'thresholds let more through on DRAWN than DRAWN states' in printed


def test_groups_are_measured_where_there_are_some(drawn, tmp_path, capsys):
  pair_set, embedded = drawn
  stated = rates.measure(pair_set, embedded, _DIGESTS, tmp_path)
  groups = {f'person {i}': 'even' if i % 2 == 0 else 'odd' for i in range(40)}
  rates.measure_groups(pair_set, embedded, stated, groups, tmp_path)
  assert [x.group for x in group_rates.load(tmp_path)] == ['all', 'even', 'odd']
  assert 'even (20)' in capsys.readouterr().out
  rates.measure_groups(pair_set, embedded, stated, None, tmp_path)
  assert group_rates.load(tmp_path) == []
  with pytest.raises(ValueError, match='DRAWN is too small for a threshold'):
    rates.measure_groups(pair_set, embedded, {}, groups, tmp_path)
