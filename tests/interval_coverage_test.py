import command_line
import numpy as np
import pytest

from benchmarks import interval_coverage
from faceqat.evaluators import influence


def test_the_small_form_prints_a_row_for_every_figure(capsys):
  command_line.run(interval_coverage, trials=3)
  lines = capsys.readouterr().out.splitlines()
  rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
  titles = {row[0] for row in rows[2:-1]}
  assert len(titles) == 6
  # 300 different pairs support no FAR of 0.01.
  assert len(rows) == 2 + 5 + 3 * 6 + 2 + 1
  assert all(len(row) == 5 for row in rows[:-1])
  assert '0.44 are used' in lines[-1]


def test_a_cell_counts_what_holds_the_mean():
  limits = np.array([[0.4, 0.6], [0.52, 0.6], [0.3, 0.5], [0.1, 0.4]])
  cell = interval_coverage.coverage(np.array([0.5, 0.6, 0.5, 0.4]), limits)
  assert cell == '50.0 (50.00 ± 9.75, -7.25)'


@pytest.mark.parametrize('with_list', [False, True])
def test_the_lfw_design_has_ten_folds_of_300_pairs_of_either_kind(
  with_list, tmp_path
):
  path = tmp_path / 'pairs.txt'
  lines = ['10\t300']
  for fold in range(10):
    lines += [f'A{fold}_{i}\t1\t2' for i in range(300)]
    lines += [f'A{fold}_{i}\t1\tB{fold}\t{i}' for i in range(300)]
  path.write_text('\n'.join(lines) + '\n')
  design = interval_coverage.lfw_design(str(path) if with_list else None)
  assert design.people.shape == design.images.shape == (6000, 2)
  # Nobody is in two folds.
  owners = [set(design.people[design.fold == f].ravel()) for f in range(10)]
  assert sum(map(len, owners)) == len(set().union(*owners))
  if with_list:
    assert design.people.max() == 3009
    # A0_0 and its images 1 and 2; then image 1 again, in a different pair.
    assert design.images[0, 0] == design.images[300, 0] != design.images[0, 1]


def test_harder_faces_are_separated_less():
  design = interval_coverage.drawn_design(600, 60)
  rng = np.random.default_rng(0)
  means = []
  for separation in (2.6, 5.3):
    scores = [
      next(interval_coverage.draw_scores(design, separation, rng))
      for _ in range(20)
    ]
    means.append(
      np.mean(
        [
          influence.accuracy(s, design.same, design.fold, None).value
          for s in scores
        ]
      )
    )
  # Twenty means of 600 pairs, with a deviation of 2 and 0.5 % each.
  assert means == pytest.approx([0.9, 0.993], abs=0.02)


def test_the_limit_is_the_factor_in_use():
  # 40,000 trials give 0.439; 4,000 are uncertain by 5 %.
  found = interval_coverage.selection_limit(4000, np.random.default_rng(0))
  assert found == pytest.approx(influence.SELECTION, rel=0.15)
