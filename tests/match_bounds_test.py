"""What a false-match rate becomes in a gallery."""

import command_line
import match_tables
import numpy as np

from benchmarks import match_bounds
from faceqat.calibration import packaged_files
from faceqat.data.benchmarks import pair_lists
from faceqat.data.benchmarks.pairs import PairSet
from faceqat.evaluators import rate_table
from faceqat.identification import embedders

PEOPLE = np.array([0, 0, 1, 2, 2, 2])
# Cosines of 1, 0.8, 0.6, 0 and -1.
TEMPLATES = np.array(
  [[10, 0], [8, 6], [4, 3], [3, 4], [0, 2], [-5, 0]], np.int32
)


def test_a_stranger_is_named_who_reaches_anybody():
  # Whoever is in the gallery, by one image: (0, 1) leaves the images of 2,
  # and so on. Each drawing takes two of the three people.
  shares = set()
  for drawings in range(1, 6):
    named = match_bounds.share_named(TEMPLATES, PEOPLE, 0.9, 2, drawings)
    shares.add(named)
    assert 0 < named < 1
  assert len(shares) > 1
  assert match_bounds.share_named(TEMPLATES, PEOPLE, -1.1, 2, 3) == 1
  assert match_bounds.share_named(TEMPLATES, PEOPLE, 1.1, 2, 3) == 0


def test_matching_pairs_are_those_of_two_people():
  share = match_bounds.share_matching(
    TEMPLATES, PEOPLE, TEMPLATES, PEOPLE, 0.95
  )
  # Of 22 ordered pairs of two people: (8, 6) with (4, 3), which is parallel,
  # and both with (3, 4), which has a cosine of 0.96 to them.
  assert share == 6 / 22


def test_a_mean_stands_for_all_images_of_a_person():
  means = match_bounds.as_gallery(TEMPLATES, PEOPLE).prototypes()
  unit = means / np.linalg.norm(means, axis=1, keepdims=True)
  parallel = np.array([[3, 1], [4, 3], [-0.4, 1.8]])
  parallel /= np.linalg.norm(parallel, axis=1, keepdims=True)
  # Elements of a mean are rounded to integers of up to 510.
  np.testing.assert_allclose(unit, parallel, atol=2e-3)


def test_the_command_prints_both_tables(monkeypatch, tmp_path, capsys):
  class Embedder:
    image_size = (8, 8)

    def digest(self, batch_size):
      return 'ab'

    def predict(self, images):
      return np.int8(images[:, 0, :, 0].astype(int) - 128)

  random = np.random.default_rng(0)
  pair_set = PairSet(
    'drawn',
    random.integers(0, 256, (6, 8, 8, 3), np.uint8),
    first=np.array([0, 1, 3]),
    second=np.array([2, 4, 5]),
    same=np.array([False, False, True]),
    fold=np.array([0, 1, 1]),
    people=np.array([[0, 1], [0, 2], [2, 2]]),
  )
  monkeypatch.setattr(pair_lists, 'read_list', lambda *_: pair_set)
  monkeypatch.setattr(embedders, 'load', lambda name: Embedder())
  path = tmp_path / 'rates.json'
  table = match_tables.make_table(thresholds=(-1.1, 0.1, 0.2))
  rate_table.save(table._replace(default_rate=1e-2), path)
  monkeypatch.setattr(packaged_files, 'rates_path_of', lambda name: path)
  monkeypatch.setattr(match_bounds, '_DRAWINGS', {2: 5, 1000: 1})
  command_line.run(
    match_bounds,
    name='sface_int8',
    images='images',
    pairs='pairs.txt',
    cache=tmp_path / 'cache',
  )
  printed = capsys.readouterr().out
  # Everything reaches a cosine of -1.1.
  assert 'threshold -1.1000' in printed
  assert '| 2 | 5 | 100 | 100 |' in printed
  assert '| 1,000 |' not in printed
  assert '| images | 6 | 100 | 1.000 |' in printed
  assert '| images, int8 | 6 | 100 | 1.000 |' in printed
  assert '| means of several images | 2 | 100 | 1.000 |' in printed
