import numpy as np
from PIL import Image

from faceqat.data.benchmarks import pair_lists
from faceqat.preparation import data_set


def make_people(root, people, images):
  """The image j of person i has the value 10 i + j."""
  found = {}
  for person in range(people):
    name = f'Lee, {chr(65 + person)}'
    (root / name).mkdir(parents=True)
    found[name] = [f'{name}/{image}.png' for image in range(images)]
    for image, file in enumerate(found[name]):
      Image.new('L', (8, 8), 10 * person + image).save(root / file)
  return found


def test_pairs_of_a_set_are_read_again_with_their_folds(tmp_path):
  people = make_people(tmp_path / 'test', 7, 3)
  assert data_set.write_pairs(people, tmp_path / 'test', seed=0)
  path = tmp_path / 'test_pairs.csv'
  pair_set = pair_lists.read_list(tmp_path / 'test', path, 8)
  assert pair_set.name == 'test'
  assert pair_set.same.sum() * 2 == len(pair_set) > 0
  for a, b, same in zip(pair_set.first, pair_set.second, pair_set.same):
    one, other = (int(pair_set.images[i][0, 0, 0]) // 10 for i in (a, b))
    assert (one == other) == same
  # Nobody is in two folds.
  folds = [np.unique(pair_set.people[pair_set.fold == f]) for f in range(3)]
  assert sum(map(len, folds)) == len(np.unique(pair_set.people))
  before = path.read_bytes()
  data_set.write_pairs(people, tmp_path / 'test', seed=0)
  assert path.read_bytes() == before
  data_set.write_pairs(people, tmp_path / 'test', seed=1)
  assert path.read_bytes() != before


def test_too_few_people_have_no_pairs(tmp_path):
  people = make_people(tmp_path / 'test', 3, 2)
  assert not data_set.write_pairs(people, tmp_path / 'test', seed=0)
  assert not (tmp_path / 'test_pairs.csv').exists()
