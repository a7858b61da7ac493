import numpy as np
import pytest

from faceqat.data.sampler import PeopleOrder, by_person

# Person 3 has no image left, 4 and 5 have fewer than the 4 of a batch.
COUNTS = [8, 9, 12, 0, 1, 3, 40, 8]
LABELS = np.repeat(np.arange(len(COUNTS)), COUNTS)
PEOPLE, IMAGES = 3, 4
BATCH = PEOPLE * IMAGES
# Of 7 people with images two batches have 6, and one is left out.
EPOCH = 2


def make(labels=LABELS, batch_size=BATCH, people_per_batch=PEOPLE, seed=0):
  return PeopleOrder(
    labels, batch_size=batch_size, people_per_batch=people_per_batch, seed=seed
  )


def batches(order, count):
  """The images of each person of each batch: int [count, P, K]."""
  places = range(count * BATCH)
  return np.array([order[i] for i in places]).reshape(count, PEOPLE, IMAGES)


def epochs(order, count):
  """The people of each epoch, in their order: int [count, P * EPOCH]."""
  return LABELS[batches(order, count * EPOCH)[:, :, 0]].reshape(count, -1)


def test_a_batch_has_p_people_with_k_images_each():
  for batch in batches(make(), 50):
    people = LABELS[batch]
    assert (people == people[:, :1]).all()
    assert len(set(people[:, 0])) == PEOPLE


def test_images_are_different_where_a_person_has_enough_and_filled_up_if_not():
  met = set()
  for images in batches(make(), 50).reshape(-1, IMAGES):
    person = LABELS[images[0]]
    met.add(person)
    times = np.unique(images, return_counts=True)[1]
    assert len(times) == min(COUNTS[person], IMAGES)
    # All of them, then all again: none comes twice more than another.
    assert times.max() - times.min() <= 1
  assert met == {0, 1, 2, 4, 5, 6, 7}


def test_an_epoch_has_everybody_once_but_for_a_rest_in_its_own_order():
  people = epochs(make(), 50)
  for epoch in people:
    assert len(set(epoch)) == PEOPLE * EPOCH
  assert len(set(map(tuple, people))) > 45
  # Each is left out in about 1 of 7 of 50 epochs: 7.1, deviation 2.5.
  times = np.bincount(people.ravel(), minlength=len(COUNTS))
  assert times[3] == 0
  assert (50 - np.delete(times, 3) <= 18).all()
  assert (np.delete(times, 3) < 50).all()


def test_a_person_shows_all_images_before_one_comes_again():
  labels = np.repeat(np.arange(3), 12)
  shown = {person: [] for person in range(3)}
  for batch in batches(make(labels), 6):
    for images in batch:
      shown[labels[images[0]]] += images.tolist()
  for person, images in shown.items():
    first, second = images[:12], images[12:]
    assert sorted(first) == np.flatnonzero(labels == person).tolist()
    assert sorted(second) == sorted(first)
    assert first != second


def test_images_and_people_are_shown_about_equally_often():
  order = make()
  seen = np.bincount(batches(order, 2000).ravel(), minlength=len(LABELS))
  for person, members in enumerate(by_person(LABELS)):
    if not COUNTS[person]:
      continue
    # 2000 batches of 3 of 7 people: 857 visits each; the share of an image is
    # K / n, and of the one or two repeated ones of a few images likewise.
    expected = 2000 * PEOPLE / 7 * IMAGES / COUNTS[person]
    # Which images are left out of a round is drawn: a few per cent.
    np.testing.assert_allclose(seen[members], expected, rtol=0.2)


def test_a_place_means_the_same_image_in_whichever_order_it_is_asked_for():
  places = np.random.default_rng(0).permutation(300)
  order = make()
  scattered = {int(place): order[int(place)] for place in places}
  again = make()
  assert [scattered[i] for i in range(300)] == [again[i] for i in range(300)]
  # Deep into a training as at its start.
  assert order[10**12] == make()[10**12]


def test_two_seeds_share_no_epoch():
  # A batch is an epoch of all 30 people: chance does not repeat its order.
  labels = np.repeat(np.arange(30), 2)
  one, other = (
    {
      tuple(labels[order[place]] for place in range(start, start + 60, 2))
      for start in range(0, 5 * 60, 60)
    }
    for order in (make(labels, 60, 30, seed) for seed in (1, 2))
  )
  assert len(one | other) == 10


@pytest.mark.parametrize(
  ('people', 'batch_size', 'message'),
  [
    (5, 12, 'people_per_batch is 5, .* divide the batch_size of 12'),
    (1, 12, 'people_per_batch is 1, wanted 2 or more'),
    (-2, 12, 'people_per_batch is -2, wanted 2 or more'),
    (12, 12, 'in a batch of 12, .* one image: wanted at most 6'),
    (24, 12, 'people_per_batch is 24, .* divide the batch_size of 12'),
    (8, 16, 'is 8, and the source has images of 7 people'),
  ],
)
def test_numbers_that_make_no_batch_are_explained(people, batch_size, message):
  with pytest.raises(ValueError, match=message):
    make(batch_size=batch_size, people_per_batch=people)


def test_a_source_without_images_is_refused():
  with pytest.raises(ValueError, match='images of 0 people'):
    make(labels=np.zeros(0, np.int32))


def test_images_are_grouped_by_person_also_where_some_have_none():
  groups = by_person(np.array([2, 0, 2, 0, 5]))
  expected = [[1, 3], [], [0, 2], [], [], [4]]
  assert [group.tolist() for group in groups] == expected
