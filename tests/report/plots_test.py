"""What is drawn, read back from the axes."""

import numpy as np
import pytest
import report_folder
from scipy.stats import norm

from faceqat.report import layer_plots, plots, style


def axes():
  return style.panel()[1]


def test_normal_scores_give_a_straight_det_whose_place_is_their_distance():
  # False non-matches at threshold t: cdf(t - 2); false matches: cdf(-t). On
  # normal deviates y = -2 - x, and they are equal at -1.
  quantiles = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
  scores = np.concatenate([quantiles, quantiles + 2])
  same = np.repeat([False, True], 20_000)
  shown = axes()
  plots.draw_det(shown, {'float': (scores, same)})
  x, y = shown.get_lines()[0].get_data()
  middle = (np.abs(x) < 2.5) & (np.abs(y) < 2.5)
  assert np.sum(middle) > 100
  # 20,000 quantiles place a rate to 1 / 20,000, which is 0.004 deviates there.
  np.testing.assert_allclose(y[middle], -2 - x[middle], atol=0.01)
  labels = [text.get_text() for text in shown.get_xticklabels()]
  assert dict(zip(labels, shown.get_xticks()))['5 %'] == norm.ppf(0.05)


def test_rates_of_zero_and_one_stay_within_finite_reach():
  same = np.arange(100) % 2 == 0
  for scores in (same.astype(float), np.zeros(100), 1.0 - same):
    shown = axes()
    plots.draw_det(shown, {'float': (scores, same)})
    drawn = np.array(shown.get_lines()[0].get_data())
    assert np.isfinite(drawn).all()
    assert np.isfinite([*shown.get_xlim(), *shown.get_ylim()]).all()


def test_fewer_than_ten_errors_are_grey():
  rng = np.random.default_rng(0)
  same = np.arange(4000) % 4 == 0
  shown = axes()
  plots.draw_det(shown, {'float': (rng.normal(same), same)})
  upright, flat = shown.patches
  assert upright.get_bbox().x1 == pytest.approx(norm.ppf(10 / 3000))
  assert flat.get_bbox().y1 == pytest.approx(norm.ppf(10 / 1000))


def test_the_cmc_begins_at_rank_one_and_long_ones_are_logarithmic():
  shown = axes()
  plots.draw_cmc(shown, {'float': np.array([0.5, 0.75, 1])})
  np.testing.assert_array_equal(
    shown.get_lines()[0].get_data(), ([1, 2, 3], [0.5, 0.75, 1])
  )
  assert shown.get_xscale() == 'linear'
  plots.draw_cmc(shown, {'float': np.linspace(0.5, 1, 100)})
  assert shown.get_xscale() == 'log'


def test_an_open_set_has_no_false_positive_rate_of_zero_on_its_axis():
  fpir, tpir = np.array([0, 0.1, 1]), np.array([0.4, 0.5, 0.9])
  shown = axes()
  plots.draw_open_set(shown, {'float': (fpir, tpir)})
  x, y = shown.get_lines()[0].get_data()
  np.testing.assert_array_equal(x, [0.1, 0.1, 1])
  np.testing.assert_array_equal(y, tpir)
  assert shown.get_xlim() == (0.1, 1)


def test_each_run_has_its_own_mark_of_quantization():
  shown = axes()
  curve = np.arange(3), np.arange(3)
  plots.draw_curves(shown, {'a': curve, 'b': curve}, {'a starts': 1, 'b': 2})
  marks = shown.get_lines()[2:]
  assert [mark.get_label() for mark in marks] == ['a starts', 'b']
  assert [list(mark.get_xdata()) for mark in marks] == [[1, 1], [2, 2]]
  first, second = (mark._unscaled_dash_pattern for mark in marks)
  assert first != second


def test_the_worst_layers_lose_most_and_equal_ones_keep_their_order():
  layers = [{'lost': lost} for lost in (1.0, 5.0, None, 5.0, -2.0)]
  assert layer_plots.worst_layers(layers, 3) == [1, 3, 0]
  assert len(layer_plots.worst_layers(layers, 9)) == 5


def test_marked_layers_are_ringed_and_numbered():
  layers = report_folder.make_agreement().to_json()['layers']
  shown = axes()
  layer_plots.draw_sqnr(shown, layers, [2, 0])
  assert [text.get_text() for text in shown.texts] == ['1', '2']
  rings = shown.get_lines()[2:]
  assert [ring.get_xydata()[0].tolist() for ring in rings] == [[3, 37], [1, 39]]


@pytest.mark.parametrize('scale', [1e-3, 1, 1e4])
def test_range_ticks_are_round_and_apart_at_any_scale(scale):
  layers = [
    {'range': [-low, high], 'float_range': [-low / 2, high]}
    for low, high in scale * np.array([[1, 2], [0, 6], [3, 40], [0.2, 0.1]])
  ]
  shown = axes()
  layer_plots.draw_ranges(shown, layers)
  ticks = shown.get_yticks()
  assert 0 in ticks
  assert 4 <= len(ticks) <= 10
  places = shown.transData.transform(np.stack([ticks, ticks], axis=1))[:, 1]
  # Pixels at 100 to the inch; letters of 10 points are 14 high.
  assert np.diff(places).min() > 14
  assert [float(f'{tick:.1g}') for tick in ticks] == ticks.tolist()
  bars = [patch.get_bbox() for patch in shown.patches]
  assert [bar.y0 for bar in bars] == [layer['range'][0] for layer in layers]
