"""A training set is known again by its people and images, not their count."""

import json

import pytest
from pictures import write_people
from PIL import Image

from faceqat.data.contents import contents
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.data.pipeline import make_train_iterator
from faceqat.data.sources.folder import FolderSource


@pytest.fixture
def faces(tmp_path):
  people = ('ann', 'bob', 'cy', 'dee', 'eve')
  return write_people(tmp_path / 'faces', dict.fromkeys(people, 2))


def listed(root):
  return contents(FolderSource(str(root), 8))


def saved(root):
  """As a checkpoint keeps it."""
  return json.loads(json.dumps(listed(root)._asdict()))


def test_the_same_set_is_known_again_where_it_was_moved_to(faces, tmp_path):
  before = saved(faces)
  assert before['people'] == ['ann', 'bob', 'cy', 'dee', 'eve']
  assert not listed(faces.rename(tmp_path / 'elsewhere')).check(before)


@pytest.mark.parametrize(
  ('names', 'message'),
  [
    # The number of people and of images stays, and the labels move.
    ({'ann': 'zoe'}, 'there were 5, now there are 5; gone: ann; new: zoe'),
    (
      {'ann': 'v', 'bob': 'w', 'cy': 'x', 'dee': 'y', 'eve': 'z'},
      'gone: ann, bob, cy and 2 more; new: v, w, x and 2 more',
    ),
  ],
)
def test_renamed_people_are_others(names, message, faces):
  before = saved(faces)
  for old, new in names.items():
    (faces / old).rename(faces / new)
  with pytest.raises(ValueError, match='are not those that') as raised:
    listed(faces).check(before)
  assert message in str(raised.value)
  assert '--config.pretrained=' in str(raised.value)


def test_another_order_of_the_same_people_is_another_set(faces):
  before = saved(faces)
  before['people'].reverse()
  with pytest.raises(ValueError, match='they stand in another order'):
    listed(faces).check(before)


def test_people_who_were_added_are_named(faces):
  before = saved(faces)
  (faces / 'flo').mkdir()
  Image.new('RGB', (8, 8)).save(faces / 'flo' / '0.png')
  with pytest.raises(ValueError, match='there were 5, now there are 6; new: f'):
    listed(faces).check(before)


@pytest.mark.parametrize('change', ['removed', 'added', 'exchanged'])
def test_other_images_of_the_same_people_are_said(change, faces):
  before = saved(faces)
  if change != 'added':
    (faces / 'bob' / '1.png').unlink()
  if change != 'removed':
    Image.new('RGB', (8, 8)).save(faces / 'bob' / '2.png')
  (note,) = listed(faces).check(before)
  count = {'removed': 9, 'added': 11, 'exchanged': 10}[change]
  assert f'{count} of the same people, there were 10' in note


def test_other_people_are_gone_on_with_where_that_is_asked_for(faces):
  before = saved(faces)
  (faces / 'ann').rename(faces / 'zoe')
  with pytest.raises(ValueError, match=r'data\.changed_people=continue'):
    listed(faces).check(before)
  (note,) = listed(faces).check(before, 'continue')
  assert 'gone: ann; new: zoe. Training goes on with 10 images' in note
  before['people'].reverse()
  (note,) = listed(faces).check(
    {**before, 'people': before['people'][:3]}, 'continue'
  )
  assert 'there were 3, now there are 5' in note


def test_a_run_does_not_go_on_with_people_of_whom_it_knows_nobody(faces):
  before = saved(faces)
  for name in before['people']:
    (faces / name).rename(faces / f'x{name}')
  with pytest.raises(ValueError, match=r'Nobody is left .*pretrained='):
    listed(faces).check(before, 'continue')


def test_an_older_run_that_says_less_is_compared_by_what_it_says(faces):
  assert not listed(faces).check({})
  (note,) = listed(faces).check({'num_images': 7})
  assert 'there were 7' in note


def test_drawn_people_have_names_too():
  one, other = (
    contents(SyntheticFaces(4, 3, first_person=first)) for first in (0, 1)
  )
  with pytest.raises(ValueError, match='gone: person_000000; new: person_0'):
    other.check(one._asdict())


def make_iterator(people, images):
  return make_train_iterator(
    SyntheticFaces(people, images, 8),
    batch_size=4,
    seed=0,
    augment=None,
    skip_damaged=False,
    num_threads=1,
  )


def test_a_position_goes_on_with_other_images_but_not_with_other_people():
  iterator = make_iterator(4, 5)
  next(iterator)
  state = iterator.get_state()
  other = make_iterator(4, 6)
  assert '24 of the same people, there were 20' in other.check_state(state)[0]
  other.set_state(state)
  assert other.get_state()['position'] == state['position']
  assert next(other)['image'].shape == (4, 8, 8, 3)
  with pytest.raises(ValueError, match='new: person_000004'):
    make_iterator(5, 4).set_state(state)
