"""Errors by group against all pairs of the group one by one."""

import itertools

import numpy as np
import pytest
from drawn_embeddings import draw

from faceqat.evaluators import (
  group_rates,
  intervals,
  match_rates,
  rate_table,
  verification,
)
from faceqat.report.results_tables import groups_table

_ORIGIN = {'network': '', 'program': '', 'faces': 'DRAWN', 'provenance': ''}


@pytest.fixture(scope='module')
def drawn():
  """Two precisions; the second is a coarse one."""
  pair_set, embedded = draw(spread=0.8)
  coarse = embedded._replace(images=np.rint(1.3 * embedded.images))
  both = {'float': embedded, 'integer': coarse}
  tables = {
    name: rate_table.measure(pair_set, value, default_rate=0.05, **_ORIGIN)
    for name, value in both.items()
  }
  groups = {f'person {i}': 'even' if i % 2 == 0 else 'odd' for i in range(38)}
  return pair_set, both, tables, groups


def shares(embeddings, people, chosen, threshold):
  """The false matches of all pairs of two chosen people, as a share."""
  unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  ends = np.array(
    [
      (i, j)
      for i, j in itertools.combinations(np.flatnonzero(chosen), 2)
      if people[i] != people[j]
    ]
  )
  hits = np.sum(unit[ends[:, 0]] * unit[ends[:, 1]], axis=1) >= threshold
  value = np.mean(hits)
  return intervals.Share(
    value, (hits - value) / len(hits), people[ends], len(hits)
  )


def test_each_group_has_the_errors_of_its_own_pairs(drawn):
  pair_set, both, tables, groups = drawn
  found = group_rates.measure(pair_set, both, tables, groups)
  assert [(x.group, x.people, x.images) for x in found] == [
    ('all', 38, 76),
    ('even', 19, 38),
    ('odd', 19, 38),
  ]
  people = np.repeat(np.arange(40), 2)
  for rates in found:
    chosen = people < 38
    if rates.group != 'all':
      chosen &= people % 2 == (rates.group == 'odd')
    wanted = {}
    for name, embedded in both.items():
      threshold = rate_table.default_row(tables[name]).threshold
      row = rates.rows[name]
      assert row.threshold == threshold
      share = shares(embedded.images, people, chosen, threshold)
      assert row.false_matches.value == pytest.approx(share.value)
      np.testing.assert_allclose(
        (row.false_matches.low, row.false_matches.high),
        intervals.of_share(share),
        rtol=1e-9,
      )
      own = chosen[::2]
      cosines = verification.cosine(embedded.images[::2], embedded.images[1::2])
      missed = cosines[own] < threshold
      assert row.misses.count == np.sum(missed)
      wanted[name] = share, missed
    (one, before), (other, after) = wanted.values()
    value, low, high = rates.false_matches
    assert value == pytest.approx(other.value - one.value)
    np.testing.assert_allclose(
      (low, high), intervals.of_difference(one, other), rtol=1e-9
    )
    assert low < value < high
    assert rates.misses[0] == pytest.approx(after.mean() - before.mean())


def test_errors_at_own_thresholds_are_those_measured():
  pair_set, embedded = draw()
  people = np.repeat(np.arange(40), 2)
  genuine = embedded.rows[:, pair_set.same]
  rows = match_rates.measure(embedded.images, people, genuine, (0.1, 0.03))
  thresholds = [row.threshold for row in rows]
  found = match_rates.at_thresholds(
    embedded.images, people, genuine, thresholds
  )
  assert found == rows


def test_groups_are_written_read_and_shown(drawn, tmp_path):
  found = group_rates.measure(*drawn)
  group_rates.save(found, tmp_path)
  read = group_rates.load(tmp_path)
  assert [x.rows for x in read] == [x.rows for x in found]
  for one, other in zip(found, read):
    assert list(one.false_matches) == list(other.false_matches)
  table = groups_table(read)
  assert [row[:2] for row in table.rows[3:6]] == [
    ['even (19)', 'float'],
    ['even (19)', 'integer'],
    ['even (19)', 'difference'],
  ]
  assert table.rows[5][2].startswith(f'{100 * found[1].false_matches[0]:+.3g}')
  group_rates.save([], tmp_path)
  assert group_rates.load(tmp_path) == []


def test_a_group_without_enough_people_is_left_out(drawn):
  pair_set, both, tables, _ = drawn
  groups = {'person 0': 'few', 'person 1': 'few'}
  with pytest.raises(ValueError, match='no group has 3 people of DRAWN'):
    group_rates.measure(pair_set, both, tables, groups)
  groups |= {f'person {i}': 'many' for i in range(2, 9)}
  found = group_rates.measure(pair_set, both, tables, groups)
  assert [rates.group for rates in found] == ['all', 'many']


def test_pairs_of_unknown_people_have_no_groups(drawn):
  pair_set, embedded = draw(people=False)
  with pytest.raises(ValueError, match='does not say who is shown'):
    group_rates.measure(pair_set, {'float': embedded}, drawn[2], drawn[3])


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (None, 'cannot be read'),
    ('person,group\n', 'names nobody'),
    ('name,group\na,b\n', 'line 2: wanted a person and a group'),
    ('person,group\na,x\nb\n', 'line 3: wanted a person and a group'),
    ('person,group\na,x\na,y\n', "line 3: a is in 'x' and in 'y'"),
  ],
)
def test_a_list_of_groups_that_says_nothing_is_refused(text, message, tmp_path):
  path = tmp_path / 'groups.csv'
  if text is not None:
    path.write_text(text)
  with pytest.raises(ValueError, match=message):
    group_rates.read_groups(path)


def test_people_and_groups_are_read(tmp_path):
  path = tmp_path / 'groups.csv'
  path.write_text('group,person\n"x, y",Ann\nz,Bob\n')
  assert group_rates.read_groups(path) == {'Ann': 'x, y', 'Bob': 'z'}
