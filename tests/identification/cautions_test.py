"""Who is in a gallery twice, and what is said of it."""

import dataclasses

import numpy as np
import pytest
from match_tables import make_table

from faceqat.identification import cautions, gallery
from faceqat.identification.gallery import Maker

PEOPLE = ('Ann', 'Anna', 'Bob')
LABELS = [0, 0, 1, 2, 2]


@pytest.fixture
def known():
  """Ann and Anna are one person; two images of Bob are one picture."""
  rng = np.random.default_rng(0)
  templates = rng.normal(size=(5, 64))
  templates[2] = templates[0] + 0.9 * rng.normal(size=64)
  templates[4] = templates[3] + 0.05 * rng.normal(size=64)
  templates = gallery.exact_templates(templates)
  return dataclasses.replace(
    gallery.empty(64, False, False, Maker('float', '', None)),
    templates=templates,
    labels=np.array(LABELS, np.int32),
    people=PEOPLE,
    images=tuple(f'{PEOPLE[x]}/{i}.jpg' for i, x in enumerate(LABELS)),
  )


@pytest.mark.parametrize('int8', [False, True])
def test_people_and_pictures_that_are_there_twice_are_named(
  known, int8, capsys, monkeypatch
):
  monkeypatch.setattr(cautions, '_BLOCK', 2)
  cautions.of_likeness(known.to_int8() if int8 else known, make_table())
  first, second = capsys.readouterr().out.splitlines()
  score = known.templates[0] @ known.templates[2]
  assert 0.5 < score < 0.98
  assert first.startswith(
    "warning: 'Ann' and 'Anna' may be one person: Ann/0.jpg and Anna/2.jpg "
    f'have a score of {score:.2f}'[:-1]
  )
  # Eight of ten pairs show two people; one in 100,000 is alike by chance.
  assert 'about 8e-05 pairs of different people in this gallery' in first
  assert second.startswith('note: Bob/3.jpg and Bob/4.jpg are nearly one pict')
  assert '(score 0.99' in second
  assert '1 such pairs' in second


def test_nothing_is_said_without_rates_or_likeness(known, capsys):
  cautions.of_likeness(known, None)
  assert capsys.readouterr().out == ''
  rows = make_table().rows
  high = rows[-1]._replace(threshold=0.999)
  cautions.of_likeness(known, make_table()._replace(rows=(*rows[:2], high)))
  printed = capsys.readouterr().out
  assert printed.startswith('note: Bob/3.jpg')
  assert 'may be one person' not in printed
