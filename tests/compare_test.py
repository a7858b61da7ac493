import json
import re

import command_line
import numpy as np
import pytest

from faceqat import compare
from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import influence, intervals, scores, verification
from faceqat.report import frontier
from faceqat.report.comparison import read_evaluation

COUNT, PEOPLE = 2000, 150


def make_pairs(with_people=True, name='lfw', seed=0):
  rng = np.random.default_rng(seed)
  same = np.arange(COUNT) % 2 == 0
  people = rng.permuted(np.tile(np.arange(PEOPLE), (COUNT, 1)), axis=1)[:, :2]
  people[same, 1] = people[same, 0]
  return PairSet(
    name=name,
    images=[],
    first=np.arange(COUNT),
    second=np.arange(COUNT) + COUNT,
    same=same,
    fold=np.arange(COUNT) * 10 // COUNT,
    people=people if with_people else None,
  )


def write_run(folder, pair_set, noise=0.0, results=None):
  """A run whose integer scores are the float ones and noise."""
  folder.mkdir()
  rng = np.random.default_rng(7)
  cosines = np.clip(rng.normal(pair_set.same * 0.5, 0.15), -1, 1)
  noisy = cosines + rng.normal(scale=noise, size=COUNT)
  precisions = {'float': cosines, 'integer': noisy}
  scores.save(scores.of_pairs(pair_set, precisions), folder)
  if results is not None:
    (folder / 'results.json').write_text(json.dumps({'integer': results}))
  return precisions


def run(capsys, *arguments):
  """The printed rows, by run and title, and the lines below the table."""
  command_line.run(compare, *arguments)
  table, legend = capsys.readouterr().out.split('\n\n')
  titles, _, *rows = (
    [cell.strip() for cell in line.split('  ') if cell.strip()]
    for line in table.splitlines()
  )
  return titles, rows, legend


def test_runs_are_compared_with_intervals_on_the_same_pairs(tmp_path, capsys):
  pair_set = make_pairs()
  first = write_run(tmp_path / 'a', pair_set)
  results = {
    'rank1': 0.975,
    'cosine_mean': 0.99911,
    'cosine_p1': 0.9,
    'bytes': 1_100_000,
  }
  second = write_run(tmp_path / 'b', pair_set, noise=0.1, results=results)
  titles, rows, legend = run(capsys, tmp_path / 'a', tmp_path / 'b')
  assert titles == [
    'run',
    'precision',
    'accuracy %',
    'difference',
    'TAR % @ FAR 0.01',
    'difference',
    'TAR % @ FAR 0.001*',
    'difference',
    'rank-1 %',
    'cosine',
    '1st pct',
    'bytes',
  ]
  assert rows[0][:2] == [str(tmp_path / 'a'), 'float']
  assert rows[0][3::2] == ['-'] * 3 + ['-', '-']
  assert rows[1][:2] == [str(tmp_path / 'b'), 'integer']
  assert rows[1][-4:] == ['97.50', '0.9991', '0.9000', '1,100,000']

  columns = pair_set.same, pair_set.fold
  figures = [
    influence.accuracy(cosines, *columns, pair_set.people)
    for cosines in (first['float'], second['integer'])
  ]
  for figure, cosines in zip(figures, (first['float'], second['integer'])):
    summary = dict(verification.summarize(cosines, *columns))
    assert figure.value == summary['accuracy']
  low, high = (100 * limit for limit in intervals.of_share(figures[0]))
  assert rows[0][2] == f'{100 * figures[0].value:.2f} [{low:.2f}, {high:.2f}]'
  low, high = (100 * limit for limit in intervals.of_difference(*figures))
  difference = 100 * (figures[1].value - figures[0].value)
  assert rows[1][3] == f'{difference:+.2f} [{low:+.2f}, {high:+.2f}]'
  # That much noise is seen through the spread.
  assert high < 0
  # A rate of one false accept has no interval.
  assert '[' in rows[1][5]
  assert '[' not in ''.join(rows[1][6:])
  assert '10 at 0.01, 1 at 0.001*.' in legend
  assert '* below 10: mostly noise, and too few for an interval' in legend
  assert 'another training (seed, processor)' in legend


def test_precisions_are_chosen_and_a_run_equals_itself(tmp_path, capsys):
  write_run(tmp_path / 'a', make_pairs(), noise=0.1)
  # The older name of a flag.
  flags = ['--precision=float', '--reference_reading=float']
  _, rows, _ = run(capsys, tmp_path / 'a', tmp_path / 'a', *flags)
  assert rows[0][2] == rows[1][2]
  # As much as two pairs of 2,000 would make.
  value, low, high = re.findall(r'[+-][\d.]+', rows[1][3])
  assert value == '+0.00'
  assert float(high) == -float(low) == 0.14


def test_pairs_of_unknown_people_have_no_intervals(tmp_path, capsys):
  for name in 'ab':
    write_run(tmp_path / name, make_pairs(with_people=False))
  _, rows, legend = run(capsys, tmp_path / 'a', tmp_path / 'b')
  assert not [cell for row in rows for cell in row if '[' in cell]
  assert rows[1][3] == '+0.00'
  assert 'No intervals: these pairs do not say who is shown' in legend


@pytest.mark.parametrize(
  ('changes', 'field'),
  [
    ({'name': 'cfp'}, 'pairs'),
    ({'seed': 1}, 'people'),
    ({'with_people': False}, 'people'),
  ],
)
def test_runs_on_other_pairs_are_refused(changes, field, tmp_path):
  write_run(tmp_path / 'a', make_pairs())
  write_run(tmp_path / 'b', make_pairs(**changes))
  message = f'b was evaluated on other pairs than .*a .*{field} differs'
  with pytest.raises(ValueError, match=message):
    command_line.run(compare, tmp_path / 'a', tmp_path / 'b')


def test_what_a_run_lacks_is_named(tmp_path):
  write_run(tmp_path / 'a', make_pairs())
  run_a = tmp_path / 'a'
  with pytest.raises(ValueError, match=r"'fake_quant'; there are float, int"):
    command_line.run(compare, run_a, run_a, '--precision=fake_quant')
  with pytest.raises(ValueError, match=r'c has no scores'):
    command_line.run(compare, run_a, tmp_path / 'c')
  (tmp_path / 'a' / 'results.json').write_text('{')
  with pytest.raises(ValueError, match=r'results\.json is damaged'):
    command_line.run(compare, run_a, run_a)


RESULTS = {
  'accuracy': 0.99,
  'low/accuracy': 0.985,
  'high/accuracy': 0.993,
  'bytes': 1_100_000,
}


def test_accuracies_are_drawn_over_the_bytes(tmp_path, capsys):
  write_run(tmp_path / 'a', make_pairs())
  write_run(tmp_path / 'b', make_pairs(), results=RESULTS)
  smaller = {'accuracy': 0.97, 'bytes': 400_000}
  write_run(tmp_path / 'c$', make_pairs(), results=smaller)
  published = tmp_path / 'published.json'
  published.write_text(
    '[{"name": "other", "bytes": 200000, "accuracy": 95.6, "source": "x"}]'
  )
  picture = tmp_path / 'new' / 'frontier.svg'
  command_line.run(
    compare,
    tmp_path / 'a',
    tmp_path / 'b',
    tmp_path / 'c$',
    f'--picture={picture}',
    f'--published={published}',
  )
  assert f'accuracy over bytes: {picture}' in capsys.readouterr().out
  drawn = picture.read_text()
  # SVG names every text that it draws.
  texts = (
    'b',
    'c$',
    'other',
    'published',
    'faceqat, integer',
    'accuracy on lfw',
  )
  for text in (*texts, '200 KB', '1 MB'):
    assert f'<!-- {text} -->' in drawn, text


def test_bars_are_the_intervals_and_names_tell_runs_apart(tmp_path):
  for folder in ('x', 'y'):
    (tmp_path / folder).mkdir()
    write_run(tmp_path / folder / 'run', make_pairs(), results=RESULTS)
  paths = [tmp_path / folder / 'run' for folder in ('x', 'y')]
  evaluations = [read_evaluation(str(path), 'integer') for path in paths]
  wanted = frontier.Point('run', 1_100_000, 0.99, (0.985, 0.993))
  assert frontier.points_of(evaluations[:1]) == [wanted]
  both = frontier.points_of(evaluations)
  assert [point.name for point in both] == list(map(str, paths))
  assert frontier._lengths(wanted) == [
    [pytest.approx(0.005)],
    [pytest.approx(0.003)],
  ]
  assert frontier._lengths(wanted._replace(limits=None)) is None


def test_only_larger_networks_that_are_more_accurate_are_joined():
  points = [
    frontier.Point(name, size, accuracy)
    for name, size, accuracy in [
      ('large', 900, 0.99),
      ('worse', 600, 0.90),
      ('small', 300, 0.95),
      ('same size', 300, 0.94),
      ('as good', 950, 0.99),
    ]
  ]
  assert [point.name for point in frontier.best(points)] == ['small', 'large']


@pytest.mark.parametrize(
  ('text', 'fault'),
  [
    ('{}', 'type dict, wanted a list'),
    ('[{"name": "x", "bytes": 0, "accuracy": 9}]', 'entry 1 is .*bytes.: 0'),
    ('[{"name": "x", "bytes": 9, "accuracy": 101}]', 'entry 1'),
    ('[{"name": "x", "bytes": 9, "accuracy": true}]', 'entry 1'),
    ('[{"name": "x", "bytes": 1%s, "accuracy": 1}]' % ('0' * 400), 'entry 1'),
    ('[{"name": "x", "bytes": 9, "accuracy": 99}, 7]', 'entry 2 is 7'),
  ],
)
def test_damaged_lists_of_published_networks_are_refused(text, fault, tmp_path):
  path = tmp_path / 'published.json'
  path.write_text(text)
  with pytest.raises(ValueError, match=f'{re.escape(str(path))}: .*{fault}'):
    frontier.read_published(path)


def test_a_run_without_accuracy_is_not_drawn(tmp_path, capsys):
  for name, results in (('a', RESULTS), ('b', {'bytes': 9})):
    write_run(tmp_path / name, make_pairs(), results=results)
  picture = tmp_path / 'frontier.png'
  with pytest.raises(ValueError, match=r'b/results\.json has no accuracy of'):
    command_line.run(
      compare, tmp_path / 'a', tmp_path / 'b', f'--picture={picture}'
    )
  assert not picture.exists()
  # What was compared is printed already.
  assert 'accuracy %' in capsys.readouterr().out
  with pytest.raises(ValueError, match='give --picture too'):
    command_line.run(compare, tmp_path / 'a', '--published=x.json')
  with pytest.raises(
    ValueError, match=r'is x\.gif; give a file that ends with'
  ):
    command_line.run(compare, tmp_path / 'a', '--picture=x.gif')
