"""Data that people have: what datasets.py makes of it, and says of it."""

import numpy as np
import pytest
from face_sets import (
  IMAGES,
  SIZE,
  data_config,
  eval_config,
  who,
  write_folder,
  write_list,
  write_pack,
)

from faceqat.data import datasets, stated_faces


def test_pairs_are_drawn_of_people_without_a_list(tmp_path, capsys):
  folder = write_folder(tmp_path / 'mine', people=7)
  pack = write_pack(tmp_path / 'theirs.rec')
  config = eval_config(path=f'{folder},{pack}')
  mine, theirs = datasets.make_benchmarks(config, image_size=SIZE)
  assert (mine.name, theirs.name) == ('mine', 'theirs')
  # 7 people make three folds at most; 40 pairs are a multiple of 4, not of 6.
  assert (len(mine), len(theirs)) == (40, 40)
  for pair_set in (mine, theirs):
    assert pair_set.same.sum() == len(pair_set) // 2
    for a, b, same in zip(pair_set.first, pair_set.second, pair_set.same):
      people = [who(pair_set.images[i])[0] for i in (a, b)]
      assert (people[0] == people[1]) == same
  printed = capsys.readouterr().out
  assert 'mine has no list in eval.pairs: 40 pairs of its 7 people' in printed
  assert '(eval.seed=0)' in printed
  again = datasets.make_benchmarks(config, image_size=SIZE)[0]
  np.testing.assert_array_equal(again.first, mine.first)
  config.seed = 1
  other = datasets.make_benchmarks(config, image_size=SIZE)[0]
  assert other.first.tolist() != mine.first.tolist()


def test_people_of_whom_no_pairs_can_be_drawn_say_what_is_missing(tmp_path):
  folder = write_folder(tmp_path / 'mine', people=3)
  message = r'eval\.path=.*mine has no list .* 3 people, 3 of whom have two'
  with pytest.raises(ValueError, match=message):
    datasets.make_benchmarks(eval_config(path=str(folder)), image_size=SIZE)


def test_a_home_folder_and_commas_in_names_are_understood(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(tmp_path))
  write_folder(tmp_path / 'faces, aligned')
  people = write_list(tmp_path, range(4))
  config = eval_config(path='~/faces, aligned', pairs=str(people))
  assert len(datasets.make_benchmarks(config, image_size=SIZE)[0]) == 8
  config = data_config(path='~/faces, aligned')
  assert len(datasets.make_training_data(config).train.class_names)


@pytest.mark.parametrize('name', ['train.rec', 'TRAIN.REC'])
def test_a_folder_around_a_pack_is_the_pack(name, tmp_path):
  write_pack(tmp_path / name)
  data = datasets.make_training_data(data_config(path=str(tmp_path)))
  assert len(data.train) == 10 * (IMAGES - 1)
  (tmp_path / f'{name[:-4]}.faces.json').write_text(
    '{"template": "mine", "size": 16, "channels": "RGB", '
    '"normalization": "uint8"}'
  )
  found = stated_faces.training_fingerprint(data_config(path=str(tmp_path)))
  assert found.template == 'mine'


def test_a_training_says_on_whom(tmp_path):
  folder = write_folder(tmp_path / 'faces')
  for name in ('faces.json', 'notes.txt', 'Thumbs.db'):
    (folder / name).write_text(
      '{"template": "mine", "size": 16, "channels": "BGR", '
      '"normalization": "uint8"}'
    )
  data = datasets.make_training_data(data_config(path=str(folder)))
  assert data.summary == (
    'trains on 50 images of 10 people; 20 people held out; 10 images of the '
    'trained people held out; ignored: notes.txt',
  )
  config = data_config(
    path='', validation_people=0, holdout_images_per_person=0
  )
  assert datasets.make_training_data(config).summary == (
    f'trains on {30 * IMAGES} images of 30 people',
  )


def test_names_that_are_written_alike_are_pointed_out(tmp_path):
  folder = write_folder(tmp_path / 'faces')
  for old, new in (('p00', 'Ann Lee'), ('p01', 'ann_lee'), ('p02', 'Zoë')):
    (folder / old).rename(folder / new)
  data = datasets.make_training_data(data_config(path=str(folder)))
  (note,) = data.summary[1:]
  assert note.startswith("note: 'Ann Lee' and 'ann_lee' are trained as")
