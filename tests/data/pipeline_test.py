import json
import threading
import time

import numpy as np
import pytest
from numbered_images import Numbered, make, numbers, order, take

from faceqat.data import augment, pipeline
from faceqat.data.held_out_people import split_holdout
from faceqat.faces import images

AUGMENT = augment.Augment(flip_probability=0.5, max_shift=1, max_brightness=0.2)


def test_batches_are_uint8_images_with_their_labels():
  source = Numbered([3, 4, 5])
  batch = next(make(source, 6))
  assert sorted(batch) == ['image', 'label']
  assert batch['image'].shape == (6, 4, 4, 3)
  assert batch['image'].dtype == np.uint8
  assert batch['label'].dtype == np.int32
  np.testing.assert_array_equal(batch['label'], source.labels[numbers(batch)])


def test_a_batch_has_what_was_drawn_for_each_image():
  batch = next(make(Numbered([3, 4, 5]), 6, augment_fn=AUGMENT))
  assert sorted(batch) == ['draw', 'image', 'label']
  shapes = [(part.shape, part.dtype) for part in batch['draw']]
  assert shapes == [((6,), bool), ((6, 2), np.int32), ((6, 256), np.uint8)]


def test_every_epoch_has_each_image_once_in_its_own_order():
  iterator = make(Numbered([10, 14]), 8)
  epochs = [order(iterator, 3) for _ in range(3)]
  for epoch in epochs:
    assert sorted(epoch) == list(range(24))
  assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_seeds_give_different_orders_and_a_seed_the_same():
  one, same, other = (
    order(make(Numbered([20, 20]), 8, seed=seed), 5) for seed in (1, 1, 2)
  )
  assert one == same
  assert one != other


@pytest.mark.parametrize('people_per_batch', [0, 2])
@pytest.mark.parametrize('process_count', [2, 4])
def test_global_batches_do_not_depend_on_the_number_of_processes(
  process_count, people_per_batch
):
  source = Numbered([10, 15], damaged=[4, 17])
  options = {
    'augment_fn': AUGMENT,
    'skip': True,
    'people_per_batch': people_per_batch,
  }
  whole = take(make(source, 8, **options), 10)
  parts = [
    make(
      source, 8, process_index=process, process_count=process_count, **options
    )
    for process in range(process_count)
  ]
  for batch in whole:
    for process, part in enumerate(parts):
      [local] = take(part, 1)
      for name in ('image', 'label'):
        expected = batch[name][process::process_count]
        np.testing.assert_array_equal(local[name], expected)


@pytest.mark.parametrize(
  ('taken', 'people_per_batch'), [(0, 0), (1, 0), (7, 0), (1, 2), (7, 2)]
)
def test_restored_position_continues_with_the_same_images(
  taken, people_per_batch
):
  source = Numbered([10, 15], damaged=[3])
  options = {
    'augment_fn': AUGMENT,
    'skip': True,
    'people_per_batch': people_per_batch,
  }
  reference = make(source, 4, **options)
  take(reference, taken)
  state = json.loads(json.dumps(reference.get_state()))
  expected = take(reference, 9)
  restored = make(source, 4, **options)
  # Another position first: what was read ahead must be forgotten.
  take(restored, 3)
  restored.set_state(state)
  for batch, wanted in zip(take(restored, 9), expected):
    np.testing.assert_array_equal(batch['image'], wanted['image'])
    np.testing.assert_array_equal(batch['label'], wanted['label'])
  assert restored.num_skipped == reference.num_skipped
  assert restored.get_state() == reference.get_state()


def test_position_can_be_restored_on_another_number_of_processes():
  source = Numbered([10, 15])
  one = make(source, 4)
  take(one, 5)
  two = make(source, 4, process_index=1, process_count=2)
  two.set_state(one.get_state())
  assert numbers(next(two)) == numbers(next(one))[1::2]


@pytest.mark.parametrize(
  ('name', 'saved', 'resumed'),
  [
    ('batch_size', 8, 10),
    ('seed', 0, 1),
    ('people_per_batch', 0, 2),
    ('people_per_batch', 2, 0),
    ('people_per_batch', 2, 4),
  ],
)
def test_position_of_other_settings_is_refused(name, saved, resumed):
  settings = {'source': Numbered([5] * 5), 'batch_size': 8}
  state = make(**{**settings, name: saved}).get_state()
  iterator = make(**{**settings, name: resumed})
  message = f'saved input position has {name} = {saved}, this run has {resumed}'
  with pytest.raises(ValueError, match=message):
    iterator.set_state(state)


def test_people_per_batch_chooses_the_people_and_their_images():
  # Fewer images than one batch: they are filled up.
  source = Numbered([4, 1, 3])
  for batch in take(make(source, 12, people_per_batch=3), 5):
    assert np.bincount(batch['label']).tolist() == [4, 4, 4]
    assert set(numbers(batch)) == set(range(8))
    np.testing.assert_array_equal(batch['label'], source.labels[numbers(batch)])


def test_augmentation_makes_the_repeats_of_an_image_differ():
  source = Numbered([100, 1])
  iterator = make(source, 8, people_per_batch=2, augment_fn=AUGMENT)
  [batch] = take(iterator, 1)
  repeats = batch['image'][batch['label'] == 1]
  assert len({image.tobytes() for image in repeats}) == 4


def test_a_damaged_image_is_replaced_by_one_of_the_same_person():
  source = Numbered([4, 9, 9], damaged=[0, 1, 3])
  iterator = make(source, 12, people_per_batch=3, skip=True)
  for batch in take(iterator, 10):
    assert np.bincount(batch['label']).tolist() == [4, 4, 4]
    assert numbers(batch).count(2) == 4
  # Three of four are damaged, and each may meet other damaged ones first.
  assert iterator.num_skipped >= 30


def test_others_stand_in_for_a_person_whose_images_are_all_damaged():
  source = Numbered([4, 9, 9], damaged=range(4))
  for batch in take(make(source, 12, people_per_batch=3, skip=True), 10):
    people = np.bincount(batch['label'], minlength=3)
    assert people[0] == 0
    assert (people[1:] >= 4).all()


def test_augmentation_differs_between_epochs():
  source = Numbered([4, 4], size=8)
  iterator = make(source, 8, augment_fn=AUGMENT)
  one, two = (
    batch['image'][np.argsort(batch['label'], kind='stable')].mean((1, 2, 3))
    for batch in take(iterator, 2)
  )
  assert not np.array_equal(np.sort(one), np.sort(two))


def test_damaged_image_stops_training_and_is_named():
  iterator = make(Numbered([4, 4], damaged=[5]), 8)
  with pytest.raises(images.DamagedImageError, match='image5'):
    next(iterator)


def test_skipped_images_are_replaced_counted_and_logged_once(caplog):
  source = Numbered([12, 12], damaged=[5, 20])
  iterator = make(source, 8, skip=True)
  seen = order(iterator, 6)
  assert len(seen) == 48
  assert not {5, 20} & set(seen)
  # Twice in each of two epochs, and again when a replacement is damaged too.
  assert iterator.num_skipped >= 4
  undamaged = set(range(24)) - {5, 20}
  assert set(seen) == undamaged
  # Reading ahead is in the log as well; each image is there at most once.
  logged = [record.getMessage() for record in caplog.records]
  assert sum('image5 ' in line for line in logged) == 1
  assert sum('image20 ' in line for line in logged) == 1


def test_what_is_no_fault_of_an_image_is_never_skipped():
  class Unreadable(Numbered):
    def __getitem__(self, index):
      raise ValueError(f'{self.name(index)} is of another pack')

  with pytest.raises(ValueError, match='is of another pack'):
    next(make(Unreadable([4, 4]), 4, skip=True))


def test_a_data_set_that_is_all_damaged_is_an_error():
  source = Numbered([4, 4], damaged=range(8))
  with pytest.raises(ValueError, match='in a row are damaged'):
    next(make(source, 4, skip=True))


def test_images_are_read_by_several_threads_ahead_of_the_training():
  threads = set()

  class Slow(Numbered):
    def __getitem__(self, index):
      threads.add(threading.get_ident())
      time.sleep(0.002)
      return super().__getitem__(index)

  take(make(Slow([20, 20]), 4), 10)
  assert len(threads) == 2
  assert threading.get_ident() not in threads


@pytest.mark.parametrize(
  ('batch_size', 'options', 'message'),
  [
    (0, {}, 'batch_size is 0'),
    (6, {'process_count': 4}, 'multiple of 4, the number'),
    (0, {'people_per_batch': 2}, 'batch_size is 0'),
    (30, {}, '25 images, fewer than one batch of 30'),
    (4, {'process_index': 2, 'process_count': 2}, 'process_index is 2'),
    (8, {'people_per_batch': 4}, 'images of 2 people'),
  ],
)
def test_settings_that_cannot_work_are_explained(batch_size, options, message):
  with pytest.raises(ValueError, match=message):
    make(Numbered([10, 15]), batch_size, **options)


@pytest.mark.parametrize('batch_size', [1, 5, 8, 25, 40])
def test_plain_batches_keep_the_order_and_pad_with_zeros(batch_size):
  source = Numbered([10, 15])
  result = list(pipeline.batches(source, batch_size))
  assert len(result) == -(-25 // batch_size)
  kept = np.concatenate([batch['image'][batch['_mask']] for batch in result])
  labels = np.concatenate([batch['label'][batch['_mask']] for batch in result])
  assert kept[:, 0, 0, 0].tolist() == list(range(25))
  np.testing.assert_array_equal(labels, source.labels)
  for batch in result:
    assert batch['image'].shape == (batch_size, 4, 4, 3)
    assert not batch['image'][~batch['_mask']].any()


def test_plain_batches_check_their_size_at_once():
  with pytest.raises(ValueError, match='batch_size is 0'):
    pipeline.batches(Numbered([2, 2]), 0)


def test_subset_keeps_labels_and_names():
  source = Numbered([2, 3, 4])
  part = pipeline.subset(source, [8, 0, 1])
  assert part.labels.tolist() == [2, 0, 0]
  assert part.class_names == source.class_names
  assert [part.name(i) for i in range(len(part))] == [
    'image8',
    'image0',
    'image1',
  ]
  assert part[0]['image'][0, 0, 0] == 8
  assert part[0]['label'] == 2


@pytest.mark.parametrize('index', [-1, 9])
def test_subset_refuses_indices_outside_the_source(index):
  with pytest.raises(ValueError, match=f'Index {index} is outside'):
    pipeline.subset(Numbered([4, 5]), [0, index])


def test_holdout_takes_the_last_images_of_people_with_enough():
  train, holdout = split_holdout(Numbered([5, 6, 9]), 2)
  assert [holdout.name(i) for i in range(len(holdout))] == [
    'image9',
    'image10',
    'image18',
    'image19',
  ]
  assert len(train) == 16
  assert train.class_names == holdout.class_names
  names = {part.name(i) for part in (train, holdout) for i in range(len(part))}
  assert len(names) == 20


@pytest.mark.parametrize(
  ('images_per_person', 'message'), [(0, '1 or more'), (4, 'takes 12 images')]
)
def test_holdout_that_holds_nothing_is_an_error(images_per_person, message):
  with pytest.raises(ValueError, match=message):
    split_holdout(Numbered([5, 6, 9]), images_per_person)


def test_split_people_are_disjoint_whole_and_relabelled():
  source = Numbered([3, 4, 5, 6, 7])
  rest, held = pipeline.split_off(source, 2, seed=1)
  assert len(held.class_names) == 2
  assert sorted([*rest.class_names, *held.class_names]) == source.class_names
  assert len(rest) + len(held) == len(source)
  for part in (rest, held):
    assert sorted(set(part.labels.tolist())) == list(
      range(len(part.class_names))
    )
    for index in range(len(part)):
      example = part[index]
      original = source.labels[example['image'][0, 0, 0]]
      assert example['label'] == part.labels[index]
      name = part.class_names[example['label']]
      assert name == source.class_names[original]


def test_split_people_follows_the_seed():
  source = Numbered([2] * 30)
  one, same, other = (
    pipeline.split_off(source, 10, seed)[1].class_names for seed in (1, 1, 2)
  )
  assert one == same
  assert one != other


@pytest.mark.parametrize('num_people', [0, 1, 4])
def test_split_people_leaves_two_on_either_side(num_people):
  with pytest.raises(ValueError, match=f'num_people is {num_people} of 5'):
    pipeline.split_off(Numbered([1] * 5), num_people, seed=0)
