import itertools

import numpy as np
import pytest

from faceqat.preparation import splits

PEOPLE = [f'person {i}' for i in range(50)]
SHARES = (0.8, 0.1, 0.1)


def test_everybody_is_in_one_part_of_the_stated_size():
  parts = splits.split_people(PEOPLE, SHARES, seed=0)
  assert {name: len(part) for name, part in parts.items()} == {
    'train': 40,
    'validation': 5,
    'test': 5,
  }
  assert sorted(itertools.chain(*parts.values())) == sorted(PEOPLE)
  assert all(part == sorted(part) for part in parts.values())


def test_a_seed_gives_one_split_in_whatever_order_people_come():
  shuffled = np.random.default_rng(0).permutation(PEOPLE).tolist()
  first = splits.split_people(PEOPLE, SHARES, seed=0)
  assert splits.split_people(shuffled, SHARES, seed=0) == first
  assert splits.split_people(PEOPLE, SHARES, seed=1) != first


def test_a_share_of_nothing_is_no_part():
  parts = splits.split_people(PEOPLE, (0.5, 0.0, 0.5), seed=0)
  assert {name: len(part) for name, part in parts.items()} == {
    'train': 25,
    'test': 25,
  }


def test_people_who_may_be_one_stay_together():
  together = [PEOPLE[i : i + 4] for i in range(0, 40, 4)] + [['nobody', 'x']]
  for seed in range(5):
    parts = splits.split_people(PEOPLE, SHARES, seed, together)
    sides = {person: name for name, part in parts.items() for person in part}
    for group in together[:-1]:
      assert len({sides[person] for person in group}) == 1
    # A group lies where its middle is: at most two people over each end.
    assert abs(len(parts['train']) - 40) <= 2


def test_a_part_without_people_is_refused():
  with pytest.raises(
    ValueError, match=r"'\w+' would have none of the 3 people"
  ):
    splits.split_people(PEOPLE[:3], SHARES, seed=0)


def test_shares_are_read_as_percentages():
  assert splits.parse_shares(['80', '15', '5']) == (0.8, 0.15, 0.05)


@pytest.mark.parametrize('text', ['80,10', '80,10,20', '110,-10,0', 'a,b,c'])
def test_wrong_shares_are_refused(text):
  with pytest.raises(ValueError, match=f'split is {text}, wanted three'):
    splits.parse_shares(text.split(','))


def test_people_are_shared_by_the_name_they_go_by():
  shared = splits.shared_by_name(
    ['ann lee', 'Bob', 'José'], ['Ann_Lee', 'Bobby', 'jose']
  )
  assert shared == {'ann lee': 'Ann_Lee', 'José': 'jose'}
