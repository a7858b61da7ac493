import numpy as np
import pytest

from faceqat.preparation import duplicates, selection


def make_hash(seed):
  return np.random.default_rng(seed).integers(0, 256, 32, np.uint8)


def make_records(**people):
  """By person, the number of each picture; 0.5 more is a near copy."""
  records = []
  for person, pictures in people.items():
    for place, picture in enumerate(pictures):
      bits = make_hash(int(picture))
      bits[0] ^= 0 if picture == int(picture) else 7
      file = f'{person}/{place}.jpg'
      digest = bits.tobytes().hex()
      crop = {'file': file, 'pixels': str(picture), 'hash': digest}
      records.append({'status': 'found', 'crops': [crop]})
  return records


def select(records, people, **options):
  return selection.select(records, people.split(), **options)


def sizes(chosen):
  return {person: len(files) for person, files in chosen.people.items()}


RECORDS = make_records(Ann=[1, 2, 1, 2.5], Bob=[3, 4], Eve=[5, 4.5], Max=[6])
PEOPLE = 'Ann Bob Eve Max Zoe'


def test_copies_are_reported_and_stay():
  chosen = select(RECORDS, PEOPLE)
  assert sizes(chosen) == {'Ann': 4, 'Bob': 2, 'Eve': 2, 'Max': 1}
  found = chosen.findings['duplicates']
  assert [(e['kind'], e['people'], e['files']) for e in found] == [
    ('exact', ['Ann'], ['Ann/0.jpg', 'Ann/2.jpg']),
    ('near', ['Ann'], ['Ann/1.jpg', 'Ann/3.jpg']),
    ('near', ['Bob', 'Eve'], ['Bob/1.jpg', 'Eve/1.jpg']),
  ]
  assert not any(entry['removed'] for entry in found)
  assert chosen.findings['people_without_faces'] == ['Zoe']


def test_removal_leaves_the_first_of_one_person_and_none_of_several():
  chosen = select(RECORDS, PEOPLE, remove=['duplicates'])
  assert chosen.people == {
    'Ann': ['Ann/0.jpg', 'Ann/1.jpg'],
    'Bob': ['Bob/0.jpg'],
    'Eve': ['Eve/0.jpg'],
    'Max': ['Max/0.jpg'],
  }


def test_people_who_share_a_picture_or_a_name_stay_together():
  records = RECORDS + make_records(eve=[8])
  assert select(records, f'{PEOPLE} eve').together == [
    ['Eve', 'eve'],
    ['Bob', 'Eve'],
  ]


EVALUATION = selection.EvaluationSet(
  ['max', 'Someone'],
  ['max/1.jpg', 'Someone/1.jpg'],
  np.array([make_hash(99), make_hash(3)]),
)


def test_people_of_an_evaluation_set_are_found_by_name_and_picture():
  chosen = select(RECORDS, PEOPLE, evaluation=EVALUATION)
  assert chosen.findings['shared'] == [
    {
      'person': 'Bob',
      'name': '',
      'images': [['Bob/0.jpg', 'Someone/1.jpg']],
      'removed': False,
    },
    {'person': 'Max', 'name': 'max', 'images': [], 'removed': False},
  ]
  assert len(chosen.people) == 4
  chosen = select(RECORDS, PEOPLE, evaluation=EVALUATION, remove=['shared'])
  assert sizes(chosen) == {'Ann': 4, 'Eve': 2}
  assert all(entry['removed'] for entry in chosen.findings['shared'])


def test_people_with_few_images_after_removals_are_left_out():
  chosen = select(RECORDS, PEOPLE, remove=['duplicates'], min_images=2)
  assert sizes(chosen) == {'Ann': 2}
  assert [entry['person'] for entry in chosen.findings['few']] == [
    'Bob',
    'Eve',
    'Max',
  ]


def test_unclear_faces_can_be_left_out():
  records = [dict(record) for record in RECORDS]
  records[-1]['status'] = 'ambiguous'
  assert 'Max' in select(records, PEOPLE).people
  assert 'Max' not in select(records, PEOPLE, remove=['ambiguous']).people


def test_every_finding_is_a_line():
  records = RECORDS + make_records(eve=[8])
  chosen = select(
    records,
    f'{PEOPLE} eve',
    evaluation=EVALUATION,
    remove=['duplicates'],
    min_images=2,
  )
  assert selection.finding_lines(chosen.findings) == [
    'same name: Eve | eve',
    'exact copies: Ann/0.jpg | Ann/2.jpg, removed: Ann/2.jpg',
    'near copies: Ann/1.jpg | Ann/3.jpg, removed: Ann/3.jpg',
    'near copies, 2 people: Bob/1.jpg | Eve/1.jpg, '
    'removed: Bob/1.jpg Eve/1.jpg',
    'shared: Bob: Bob/0.jpg = Someone/1.jpg',
    'shared: Max: is called like max',
    'few images: Bob: 1',
    'few images: Eve: 1',
    'few images: Max: 1',
    'few images: eve: 1',
    'no face: Zoe',
  ]


def test_a_split_keeps_the_files_of_its_people():
  chosen = select(RECORDS, PEOPLE)
  assert selection.split_selection(chosen, None, 0) == {'': chosen.people}
  parts = selection.split_selection(chosen, (0.5, 0, 0.5), 0)
  assert {**parts['train'], **parts['test']} == chosen.people
  assert ('Bob' in parts['test']) == ('Eve' in parts['test'])


def test_nobody_left_is_an_error():
  with pytest.raises(ValueError, match='Nobody is left'):
    selection.split_selection(select(RECORDS, PEOPLE, min_images=9), None, 0)


def test_hashes_are_as_long_as_they_are_made():
  assert len(make_hash(0)) * 8 == duplicates.HASH_BITS
