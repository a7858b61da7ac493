import numpy as np
import pytest
import safetensors.numpy

from faceqat.evaluators import identification_rates


class _People:
  """Image i of a source is filled with the i-th value."""

  def __init__(self, labels, values):
    self.labels, self.values = np.array(labels), values

  def __len__(self):
    return len(self.labels)

  def __getitem__(self, index):
    return {'image': np.full((2, 2, 3), self.values[index], np.uint8)}


def _direction(images):
  """An angle of so many degrees as the pixels say."""
  angles = np.deg2rad(images[:, 0, 0, 0].astype(float))
  return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_first_images_are_the_gallery_and_the_next_ones_probes():
  labels = [2, 0, 2, 5, 0, 2, 2, 0]
  gallery, probes = identification_rates.split_gallery(labels, 3)
  assert gallery.tolist() == [1, 0, 3]
  # The fourth image of person 2 is left out; person 5 has but one.
  assert probes.tolist() == [4, 7, 2, 5]


def test_ranks_equal_counting_and_the_scale_plays_no_part():
  rng = np.random.default_rng(0)
  gallery, probes = rng.normal(size=(30, 6)), rng.normal(size=(2500, 6))
  mates = rng.integers(30, size=2500)
  ranks = identification_rates.search(gallery, probes, mates).ranks
  cosines = (probes / np.linalg.norm(probes, axis=1)[:, None]) @ (
    gallery / np.linalg.norm(gallery, axis=1)[:, None]
  ).T
  for probe in (0, 1, 1023, 1024, 2499):
    order = np.argsort(-cosines[probe])
    assert ranks[probe] == 1 + order.tolist().index(mates[probe])
  scaled = identification_rates.search(gallery * 7, probes / 3, mates).ranks
  np.testing.assert_array_equal(scaled, ranks)


@pytest.mark.parametrize('value', [0, 1])
def test_ties_stand_before_the_right_person(value):
  same = np.full([3, 4], value, np.int32)
  found = identification_rates.search(same, same, np.arange(3))
  assert found.ranks.tolist() == [3, 3, 3]
  # A cosine that only rounding parts from the right one is a tie too.
  gallery = np.array([[3, 1], [0.3, 0.1]])
  found = identification_rates.search(
    gallery, np.array([[1.0, 2.0]]), np.array([0])
  )
  assert (found.ranks, found.rivals) == ([2], [1])


def _identify(source, images_per_person=3, unknown_share=0.0, **settings):
  return identification_rates.search_people(
    _direction,
    source,
    images_per_person=images_per_person,
    unknown_share=unknown_share,
    **{'seed': 0, 'batch_size': 4, **settings},
  )


def _figures(found):
  """Without intervals."""
  figures = identification_rates.summarize(found)
  return {name: value for name, value in figures if '/' not in name}


def _seven_people():
  """Ten degrees apart; of the probes one is nearest to another person."""
  labels = np.repeat(np.arange(7), 3)
  values = labels * 10 + np.tile([0, 2, 3], 7)
  values[5] = 6  # Person 1, as near to person 0 as makes her second.
  values[20] = 0  # Person 6, whose image is that of person 0: last.
  return _People(labels, values)


def test_rates_of_a_source_are_those_of_its_probes():
  found = _identify(_seven_people())
  # 6 degrees are nearer to 10 than to 0.
  assert _figures(found) == {
    'rank1': 13 / 14,
    'rank5': 13 / 14,
  }
  assert found.open_set is None
  np.testing.assert_allclose(
    identification_rates.cmc(found), [13 / 14] * 6 + [1], rtol=1e-15
  )


def test_ranks_that_everybody_reaches_are_not_given():
  source = _People([0, 0, 1, 1, 2, 2], [0, 1, 20, 21, 40, 41])
  found = _identify(source, images_per_person=2)
  assert _figures(found) == {'rank1': 1}


@pytest.mark.parametrize('images', [1, 2])
def test_nobody_to_search_for_is_an_error(images):
  labels = [0, 1, 2] if images == 2 else [0, 0, 1]
  source = _People(labels, [0, 20, 40])
  with pytest.raises(ValueError, match='needs two images of a person'):
    _identify(source, images_per_person=images)


def test_the_cmc_curve_counts_probes_of_each_rank():
  found = identification_rates.SearchResult(
    np.array([1, 3, 1, 2]), np.zeros(4, int), np.ones(4, int), 4, None
  )
  np.testing.assert_array_equal(
    identification_rates.cmc(found), [0.5, 0.75, 1, 1]
  )


def test_the_open_set_by_hand():
  # Gallery: 0 and 90 degrees. Mated probes at 10 and 50 (person 0, the second
  # nearer to person 1) and at 70 (person 1); unknown ones at 20 and 45.
  angles = np.deg2rad([0, 90, 10, 50, 70, 20, 44])
  faces = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  found = identification_rates.search_open_set(
    faces[:2], np.array([3, 5]), faces[2:], np.array([3, 3, 5, 4, 9])
  )
  assert found.mated.tolist() == [True, True, True, False, False]
  assert found.hits.tolist() == [True, False, True, False, False]
  wanted = np.cos(np.deg2rad([10, 40, 20, 20, 44]))
  # Cosines of float64, each good to a few 2^-53.
  np.testing.assert_allclose(found.scores, wanted, atol=1e-14)
  fpir, tpir = identification_rates.open_set_rates(found)
  # None; 10 degrees; both 20, which may part by rounding; then 44 degrees. The
  # wrong answer at 40 degrees is never a true positive.
  assert (fpir[0], tpir[0]) == (0, 0)
  assert (fpir[1], tpir[1]) == (0, 1 / 3)
  assert (0.5, 2 / 3) in zip(fpir, tpir)
  assert (fpir[-1], tpir[-1]) == (1, 2 / 3)


@pytest.mark.parametrize('dtype', [float, np.int32])
def test_open_set_rates_equal_counting(dtype):
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(40, 5))
  people = rng.integers(40, size=700)
  # Coarse integers: many ties.
  faces = (3 * (centres[people] + rng.normal(size=(700, 5)))).astype(dtype)
  gallery = (3 * centres[::2]).astype(dtype)
  found = identification_rates.search_open_set(
    gallery, np.arange(0, 40, 2), faces, people
  )
  cosines = np.array(
    [
      [a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-9) for b in gallery]
      for a in faces
    ]
  )
  top = cosines.max(axis=1)
  fpir, tpir = identification_rates.open_set_rates(found)
  one = np.ones(1, int)
  limits = _figures(identification_rates.SearchResult(one, one, one, 1, found))
  strangers = people % 2 == 1
  # Of 350 probes without a mate 35 and 3 are expected above.
  assert list(limits) == ['tpir@fpir=0.1']
  best, points = 0, {(0, 0)}
  for threshold in np.unique(top.round(9)):
    above = top >= threshold - 1e-9
    right = [
      above[i]
      and p % 2 == 0
      and np.sum(cosines[i] >= cosines[i, p // 2] - 1e-9) == 1
      for i, p in enumerate(people)
    ]
    fraction = np.mean(above[strangers])
    share = np.sum(right) / np.sum(~strangers)
    points.add((fraction, share))
    if fraction <= 0.1:
      best = max(best, share)
  assert {(f, t) for f, t in zip(fpir, tpir)} == points
  assert limits['tpir@fpir=0.1'] == best


def test_who_is_unknown_follows_the_seed():
  source = _seven_people()
  one, again, other = (
    _identify(source, unknown_share=0.5, seed=seed).open_set
    for seed in (1, 1, 2)
  )
  for first, second in zip(one, again):
    np.testing.assert_array_equal(first, second)
  # Four of seven: their first images are probes too.
  unknown = np.unique(one.people[~one.mated])
  assert len(unknown) == 4
  assert np.sum(~one.mated) == 12
  assert np.sum(one.mated) == 6
  assert set(unknown) != set(np.unique(other.people[~other.mated]))


@pytest.mark.parametrize('share', [0.0, 0.01, 0.99])
def test_without_two_kinds_of_people_there_is_no_open_set(share):
  found = _identify(_seven_people(), unknown_share=share)
  assert found.open_set is None


@pytest.mark.parametrize(
  ('strangers', 'fpirs'), [(99, []), (100, ['0.1']), (1000, ['0.1', '0.01'])]
)
def test_tpir_is_given_only_where_ten_false_positives_are_expected(
  strangers, fpirs
):
  mated = np.arange(strangers + 20) < 20
  people, scores = np.arange(len(mated)), np.linspace(1, 0, len(mated))
  open_set = identification_rates.OpenSet(
    scores, mated, mated, people, people[::-1], scores
  )
  found = identification_rates.SearchResult(
    np.ones(20, int), np.arange(20), np.arange(20), 1, open_set
  )
  assert _figures(found) == {f'tpir@fpir={fpir}': 1 for fpir in fpirs}


def test_rivals_are_found_by_leaving_people_out():
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(12, 4))
  people = rng.integers(12, size=300)
  faces = centres[people] + rng.normal(size=(300, 4))
  enrolled = np.arange(0, 12, 2)
  found = identification_rates.search_open_set(
    centres[enrolled], enrolled, faces, people
  )
  for person in enrolled:
    kept = enrolled[enrolled != person]
    without = identification_rates.search_open_set(
      centres[kept], kept, faces, people
    )
    mine = (found.rivals == person) & (people != person)
    np.testing.assert_array_equal(
      found.without_rival[mine], without.identified[mine]
    )
    # Without anybody else, a wrong answer stays wrong, and a right one right.
    others = found.mated & ~mine & (people != person)
    np.testing.assert_array_equal(
      found.identified[others], without.identified[others]
    )
  assert not np.array_equal(found.without_rival, found.identified)


def test_intervals_are_those_of_the_influences():
  rng = np.random.default_rng(0)
  people = np.repeat(np.arange(50), 4)
  # Half of the people are always found, the others never are.
  ranks = np.where(people % 2 == 0, 1, 9)
  mated = people < 25
  scores = np.tanh(rng.normal(mated, 1))
  open_set = identification_rates.OpenSet(
    scores, mated, mated, people, people, scores
  )
  found = identification_rates.SearchResult(ranks, people, people, 50, open_set)
  figures = dict(identification_rates.summarize(found))
  assert figures['rank1'] == 0.5
  # Of 50 people: sqrt(1/4 / 50) is 0.071. Wilson's interval is 4 % narrower
  # than that of a mean, and Student's t 3 % wider than a normal.
  width = figures['high/rank1'] - figures['low/rank1']
  assert width == pytest.approx(3.92 * np.sqrt(0.25 / 50), rel=0.03)
  assert figures['low/tpir@fpir=0.1'] < figures['tpir@fpir=0.1']
  assert figures['tpir@fpir=0.1'] < figures['high/tpir@fpir=0.1']


def test_curves_are_saved_by_precision(tmp_path):
  found = {
    'float': _identify(_seven_people()),
    'integer': _identify(_seven_people(), unknown_share=0.5),
  }
  identification_rates.save(found, tmp_path)
  stored = safetensors.numpy.load_file(tmp_path / 'identification.safetensors')
  names = ['cmc/float', 'cmc/integer', 'fpir/integer', 'tpir/integer']
  assert sorted(stored) == names
  assert all(array.dtype == np.float64 for array in stored.values())
  fpir, tpir = identification_rates.open_set_rates(found['integer'].open_set)
  np.testing.assert_array_equal(stored['fpir/integer'], fpir)
  np.testing.assert_array_equal(stored['tpir/integer'], tpir)
  assert stored['cmc/float'].shape == (7,)
