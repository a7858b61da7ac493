import re

import numpy as np
import pytest
import report_folder
from matplotlib.figure import Figure
from PIL import Image

from faceqat.data.benchmarks.pairs import synthetic_pairs
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.report import figures


def _scores(num_pairs=200, seed=0, distance=1.0):
  rng = np.random.default_rng(seed)
  same = np.arange(num_pairs) % 2 == 0
  return rng.normal(same * distance, 0.3), same


@pytest.fixture
def saved(monkeypatch):
  """The Matplotlib figures that are written during a test."""
  written = []
  save = Figure.savefig

  def savefig(figure, *args, **kwargs):
    written.append(figure)
    return save(figure, *args, **kwargs)

  monkeypatch.setattr(Figure, 'savefig', savefig)
  return written


def _is_drawn(path):
  with Image.open(path) as picture:
    return len(picture.convert('RGB').getcolors(2**24)) > 5


def test_roc_figure_draws_every_precision(tmp_path, saved):
  path = tmp_path / 'new' / 'roc.png'
  figures.roc_figure(
    {'float': _scores(), 'integer': _scores(distance=0.5)}, str(path)
  )
  assert _is_drawn(path)
  roc, histogram = saved[0].axes
  assert roc.get_xscale() == 'log'
  labels = [text.get_text() for text in roc.get_legend().get_texts()]
  assert [label.split(',')[0] for label in labels] == ['float', 'integer']
  assert len(histogram.get_legend().get_texts()) == 4
  far, tar = roc.get_lines()[0].get_data()
  assert far[0] == 0.01, 'the axis starts at one false accept of 100 pairs'
  assert tar[-1] == 1


@pytest.mark.parametrize(
  'scores',
  [np.ones(40), np.where(np.arange(40) % 2 == 0, 1.0, 0.0)],
  ids=['constant', 'perfect'],
)
def test_roc_figure_of_a_degenerate_model_is_drawn(tmp_path, scores):
  same = np.arange(40) % 2 == 0
  figures.roc_figure({'float': (scores, same)}, tmp_path / 'roc.png')
  assert _is_drawn(tmp_path / 'roc.png')


def test_figures_of_nothing_are_errors(tmp_path):
  path = tmp_path / 'figure.png'
  with pytest.raises(ValueError, match='at least one precision'):
    figures.roc_figure({}, path)
  with pytest.raises(ValueError, match=r"'float' needs pairs.* got 3 and 0"):
    figures.roc_figure({'float': (np.arange(3), np.ones(3, bool))}, path)
  with pytest.raises(ValueError, match='at least one curve'):
    figures.curves_figure({}, path)
  assert not path.exists()


def test_curves_share_the_panel_of_their_quantity(tmp_path, saved):
  steps = np.arange(10)
  figures.curves_figure(
    {
      'train/loss': (steps, steps),
      'validation/loss': (steps[::5], steps[::5]),
      'learning_rate': (steps, steps),
    },
    tmp_path / 'curves.png',
    quantization_start=6,
  )
  assert _is_drawn(tmp_path / 'curves.png')
  loss, rate = saved[0].axes
  assert [loss.get_title(), rate.get_title()] == ['loss', 'learning_rate']
  assert [line.get_label() for line in loss.get_lines()] == [
    'train',
    'validation',
    'quantization starts',
  ]
  for axes in (loss, rate):
    assert list(axes.get_lines()[-1].get_xdata()) == [6, 6]


def test_unused_panels_are_hidden_and_no_line_marks_a_float_run(
  tmp_path, saved
):
  curve = np.arange(3), np.arange(3)
  figures.curves_figure({n: curve for n in 'abc'}, tmp_path / 'curves.png')
  axes = saved[0].axes
  assert [a.get_visible() for a in axes] == [True, True, True, False]
  assert [len(a.get_lines()) for a in axes] == [1, 1, 1, 0]


def test_a_long_curve_is_smoothed_and_not_moved(tmp_path, saved):
  steps = np.arange(1000)
  noise = np.random.default_rng(0).normal(size=1000)
  figures.curves_figure(
    {'ramp': (steps, steps), 'noise': (steps, noise)}, tmp_path / 'c.png'
  )
  ramp, rough = saved[0].axes
  # A centred mean leaves a straight line as it is, up to float64 rounding.
  moved, mean = ramp.get_lines()[1].get_data()
  np.testing.assert_allclose(mean, moved, rtol=1e-12)
  assert len(mean) == 980
  raw, smooth = (line.get_ydata() for line in rough.get_lines())
  np.testing.assert_array_equal(raw, noise)
  assert np.std(smooth) < 0.5 * np.std(raw)


def test_pairs_figure_shows_the_hardest_of_each_kind(tmp_path, saved):
  scores, same = _scores(20)
  figures.pairs_figure(
    report_folder.make_pairs(20),
    scores,
    tmp_path / 'pairs.png',
    pairs_per_kind=3,
  )
  shown = [
    axes.get_images()[0].get_array()[0, [0, -1], 0]
    for axes in saved[0].axes
    if axes.get_images()
  ]
  false_matches = sorted(np.flatnonzero(~same), key=lambda i: -scores[i])[:3]
  false_rejects = sorted(np.flatnonzero(same), key=lambda i: scores[i])[:3]
  expected = [[2 * i, 2 * i + 1] for i in false_matches + false_rejects]
  np.testing.assert_array_equal(shown, expected)
  title = saved[0].axes[0].get_title()
  assert title == f'{scores[false_matches[0]]:.3f}  (pair {false_matches[0]})'


def test_pairs_are_shown_with_the_names_of_their_images(tmp_path, saved):
  source = SyntheticFaces(4, 3, image_size=16, seed=0)
  pair_set = synthetic_pairs(source, 4, seed=0, folds=2)
  path = tmp_path / 'pairs.png'
  figures.pairs_figure(pair_set, np.arange(4.0), path, pairs_per_kind=1)
  hardest = np.flatnonzero(~pair_set.same)[-1], np.flatnonzero(pair_set.same)[0]
  for axes, pair in zip(saved[0].axes, hardest):
    _, *names = axes.get_title().split('\n')
    ends = pair_set.first[pair], pair_set.second[pair]
    assert names == [pair_set.image_name(index) for index in ends]
    assert re.fullmatch(r'person_\d+/\d+', names[1])


def test_pairs_figure_of_few_pairs_leaves_places_empty(tmp_path):
  figures.pairs_figure(
    report_folder.make_pairs(2), np.array([0.1, 0.2]), tmp_path / 'pairs.png'
  )
  assert _is_drawn(tmp_path / 'pairs.png')


def test_pairs_figure_refuses_scores_of_other_pairs(tmp_path):
  with pytest.raises(ValueError, match=r'has 2 pairs.*shape \(3,\)'):
    figures.pairs_figure(
      report_folder.make_pairs(2), np.zeros(3), tmp_path / 'pairs.png'
    )


def test_a_failed_write_leaves_the_old_picture_and_nothing_else(
  tmp_path, monkeypatch
):
  path = tmp_path / 'curves.png'
  path.write_bytes(b'old')

  def savefig(figure, file, **kwargs):
    file.write(b'half')
    raise OSError('disk full')

  monkeypatch.setattr(Figure, 'savefig', savefig)
  with pytest.raises(OSError, match='disk full'):
    figures.curves_figure({'a': ([0, 1], [0, 1])}, path)
  assert [p.read_bytes() for p in tmp_path.iterdir()] == [b'old']


def test_the_suffix_chooses_the_format(tmp_path):
  figures.curves_figure({'a': ([0, 1], [0, 1])}, tmp_path / 'curves.svg')
  assert '<svg' in (tmp_path / 'curves.svg').read_text()
