"""Thresholds by few strangers, whose pairs are many more."""

import dataclasses

import numpy as np
import pytest
from match_tables import make_table

from faceqat.identification import gallery, retrieval, thresholds
from faceqat.identification.enrolment import Faces
from faceqat.identification.face_files import Entry
from faceqat.identification.gallery import Maker
from faceqat.identification.settings import Settings
from faceqat.integer import matching

_SIZE = 32


def make_strangers(count, seed):
  rng = np.random.default_rng(seed)
  return Faces(
    names=[f'{i}.jpg' for i in range(count)],
    people=[f'stranger {i}' for i in range(count)],
    templates=rng.integers(-100, 101, (count, _SIZE)),
    digests=np.zeros([count, 16], np.uint8),
    pictures=[],
    left_out=[],
  )


@pytest.fixture
def known():
  """Three people, in integers."""
  rng = np.random.default_rng(9)
  return dataclasses.replace(
    gallery.empty(_SIZE, True, False, Maker('integer', '', None)),
    templates=rng.integers(-100, 101, (3, _SIZE)).astype(np.int16),
    labels=np.arange(3, dtype=np.int32),
    people=('Ann', 'Bob', 'Eve'),
    images=('a', 'b', 'c'),
  )


def best_of(known, strangers):
  """The highest score of each stranger, without a search to compile."""
  one, other = (
    x / np.linalg.norm(x, axis=1, keepdims=True)
    for x in (strangers.templates, known.templates.astype(float))
  )
  return np.int32(np.max(one @ other.T, axis=1) * matching.ONE)


def choose(known, strangers, rate, table=None):
  settings = Settings(calibration='strangers', false_positive_rate=rate)
  best = best_of(known, strangers)
  return thresholds.of_strangers(known, strangers, best, table, settings)


@pytest.mark.parametrize(
  ('given', 'warned'), [(None, True), (0.4, False), (-1.0, False)]
)
def test_that_a_network_names_everybody_is_said(given, warned, known, capsys):
  assert thresholds.of_table(None, known, Settings(threshold=given)) == given
  printed = capsys.readouterr().out
  assert printed.startswith('warning: no false-match rates') == warned


def test_pairs_of_few_strangers_bound_the_share_of_others(known, capsys):
  strangers = make_strangers(60, seed=0)
  retrieval.check_rate(0.1, 60, 60, 3)
  threshold = choose(known, strangers, 0.1)
  assert 'threshold ' in capsys.readouterr().out
  others = best_of(known, make_strangers(2000, seed=1))
  # At most a tenth; four standard deviations of 2,000 are 0.027.
  assert 0.01 < np.mean(others >= threshold) <= 0.127


def test_strangers_who_resemble_each_other_support_less(known):
  # Ten of them, each six times under another name: 45 independent pairs.
  ten = make_strangers(10, seed=0)
  strangers = dataclasses.replace(
    make_strangers(60, seed=0), templates=np.tile(ten.templates, (6, 1))
  )
  with pytest.raises(ValueError, match='as some of them resemble many others'):
    choose(known, strangers, 0.1)


def test_how_many_it_takes_is_said_before():
  with pytest.raises(ValueError, match='images of 35 different people, whose'):
    retrieval.check_rate(0.1, 34, 34, 3)
  retrieval.check_rate(0.1, 35, 35, 3)
  # Many images of few people make few such pairs.
  with pytest.raises(ValueError, match='or images of 35 different people'):
    retrieval.check_rate(0.1, 90, 30, 3)


def test_a_promise_that_is_kept_is_not_warned_of(known, capsys):
  strangers = make_strangers(200, seed=0)
  table = make_table(thresholds=(0.9, 0.95, 0.99))
  choose(known, strangers, 0.1, table)
  assert 'WARNING' not in capsys.readouterr().out
  choose(known, strangers, 0.1, make_table(thresholds=(0.0, 0.1, 0.2)))
  assert 'WARNING' in capsys.readouterr().out


def test_a_share_needs_rates_or_strangers():
  settings = Settings(false_positive_rate=0.01)
  with pytest.raises(ValueError, match='go together'):
    thresholds.check(None, 10, settings)
  thresholds.check(make_table(), 10, settings)
  # How many strangers it takes is said before they are embedded.
  few = [Entry(f'{i}.jpg', f'stranger {i}', None) for i in range(45)]
  with pytest.raises(ValueError, match='or give images of 200 people'):
    thresholds.check(None, 10, settings, few)
  moved = make_table()._replace(deviation=0.1)
  thresholds.check(moved, 10, settings, few)
  with pytest.raises(ValueError, match=r'none below 2e-05; give 0\.2 or more'):
    thresholds.check(make_table(), 10_000, settings)


def test_rates_are_moved_to_another_camera_by_few_strangers(known, capsys):
  # All faces of this camera are more alike.
  def shifted(count, seed):
    faces = make_strangers(count, seed)
    return dataclasses.replace(faces, templates=faces.templates + 40)

  known = dataclasses.replace(
    known, templates=(known.templates + 40).astype(np.int16)
  )
  # Cosines of random vectors of 32 numbers have a deviation of 0.177: of
  # normal ones 1 % are above 0.41, and 0.1 % above 0.55.
  table = make_table(thresholds=(0.41, 0.55, 0.75))
  table = table._replace(mean=0.0, deviation=0.177)
  threshold = choose(known, shifted(45, seed=0), 0.1, table)
  assert 'is moved to the pairs of 45 strangers' in capsys.readouterr().out
  others = best_of(known, shifted(2000, seed=1))
  # Three images, each reached by 1 % or less, which is known to a factor of
  # two; without moving, most strangers would be named.
  assert np.mean(others >= threshold) <= 0.1
  assert np.mean(others >= 0.41 * matching.ONE) > 0.2
  with pytest.raises(ValueError, match='are enough only where the network has'):
    choose(known, shifted(45, seed=0), 0.01, None)
  with pytest.raises(ValueError, match='go as low for a gallery of 3 images'):
    choose(known, shifted(45, seed=0), 1e-6, table)


def test_each_image_has_a_threshold_by_how_it_resembles_strangers(
  known, capsys
):
  # All faces of this camera are more alike, and one of the gallery most.
  def shifted(count, seed):
    faces = make_strangers(count, seed)
    return dataclasses.replace(faces, templates=faces.templates + 40)

  templates = (known.templates + 40).astype(np.int16)
  templates[1] += 60
  known = dataclasses.replace(known, templates=templates)
  table = make_table(thresholds=(0.41, 0.55, 0.75))
  # Of normal scores 1 % are above 2.33.
  table = table._replace(
    rows=tuple(row._replace(normalised=2.33) for row in table.rows)
  )
  found = choose(known, shifted(45, seed=0), 0.1, table)
  assert found.shape == (3,)
  assert found.dtype == np.int64
  assert np.argmax(found) == 1
  assert '2.33 deviations above those with 45' in capsys.readouterr().out
  others = shifted(3000, seed=1).templates.astype(float)
  one, other = (
    x / np.linalg.norm(x, axis=1, keepdims=True)
    for x in (others, templates.astype(float))
  )
  scores = one @ other.T * matching.ONE
  # Cosines near 1 are less spread than normal ones: fewer than 1 % reach them.
  shares = np.mean(scores >= found, axis=0)
  assert 0 < shares.min() <= shares.max() <= 0.01
  # The threshold of another one lets many more be taken for the second one.
  assert np.mean(scores[:, 1] >= found[2]) > 5 * shares[1]
