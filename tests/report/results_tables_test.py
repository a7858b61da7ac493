import json

import jax.numpy as jnp
import numpy as np
import pytest

from faceqat.report import results_tables as tables


def _rows():
  base = {
    'accuracy': 0.9947,
    'accuracy_se': 0.0012,
    'auc': 0.998791,
    'eer': 0.0073,
    'tar@far=0.1': 1.0,
    'tar@far=0.01': 0.98567,
    'threshold': 0.27512,
  }
  return {
    'float': {**base, 'bytes': 4_210_000},
    'fake_quant': {**base, 'accuracy': 0.9946},
    'integer': {**base, 'accuracy': 0.9935, 'bytes': 1_100_000},
  }


def test_table_has_a_row_a_precision_in_their_units():
  table = tables.results_table(_rows())
  assert table.titles == [
    'precision',
    'accuracy %',
    'vs float',
    'AUC',
    'EER %',
    'TAR % @ FAR 0.1',
    'TAR % @ FAR 0.01',
    'threshold',
    'bytes',
  ]
  rates = ['0.99879', '0.73', '100.00', '98.57', '0.2751']
  assert table.rows == [
    ['float', '99.47 ± 0.12', '+0.00', *rates, '4,210,000'],
    ['fake_quant', '99.46 ± 0.12', '-0.01', *rates, '-'],
    ['integer', '99.35 ± 0.12', '-0.12', *rates, '1,100,000'],
  ]


def test_the_summary_has_six_columns_and_says_what_they_are():
  rows = _rows()
  rows['float'] |= {'low/accuracy': 0.99, 'high/accuracy': 0.996, 'rank1': 0.5}
  rows['float'] |= {'low/rank1': 0.4, 'high/rank1': 0.6}
  table = tables.summary_table(rows)
  assert table.titles == [
    *('precision', 'accuracy %', 'vs float', 'TAR % @ FAR 0.01'),
    *('rank-1 %', 'bytes'),
  ]
  assert table.rows == [
    ['float', '99.47 [99.00, 99.60]', '+0.00', '98.57', '50.00', '4,210,000'],
    ['fake_quant', '99.46', '-0.01', '98.57', '-', '-'],
    ['integer', '99.35', '-0.12', '98.57', '-', '1,100,000'],
  ]
  explained = [note.partition(':')[0] for note in table.notes]
  assert explained == [*table.titles[1:], 'In brackets']


def test_what_a_row_lacks_or_cannot_be_written_is_a_dash():
  rows = {
    'float': {'bytes': 12},
    'integer': {'accuracy': 0.5, 'auc': float('nan')},
  }
  table = tables.results_table(rows)
  assert table.titles == ['precision', 'accuracy %', 'vs float', 'AUC', 'bytes']
  assert table.rows == [
    ['float', '-', '-', '-', '12'],
    ['integer', '50.00', '-', '-', '-'],
  ]


def test_identification_and_nearness_to_float_have_their_columns():
  rows = {
    'float': {'accuracy': 0.9, 'rank1': 0.98567, 'threshold': 0.25},
    'integer': {'rank1': 1, 'cosine_mean': 0.99916, 'cosine_p1': 0.98001},
  }
  table = tables.results_table(rows)
  assert table.titles[3:] == ['rank-1 %', 'cosine', '1st pct', 'threshold']
  assert table.rows[0][3:] == ['98.57', '-', '-', '0.2500']
  assert table.rows[1][3:] == ['100.00', '0.9992', '0.9800', '-']


def test_intervals_stand_in_brackets_and_are_explained():
  rows = {
    'float': {
      'accuracy': 0.9,
      'accuracy_se': 0.01,
      'low/accuracy': 0.88,
      'high/accuracy': 0.915,
      'tar@far=0.1': 0.8,
      'low/tar@far=0.1': 0.7,
      'high/tar@far=0.1': 0.9,
      'tpir@fpir=0.1': 0.5,
    },
    'integer': {
      'accuracy': 0.9,
      'low/difference': -0.012,
      'high/difference': 0.012,
      'rank1': 1,
      'low/rank1': 0.99,
      'high/rank1': 1,
    },
  }
  table = tables.results_table(rows)
  wanted = ['TAR % @ FAR 0.1', 'rank-1 %', 'TPIR % @ FPIR 0.1']
  assert table.titles == ['precision', 'accuracy %', 'vs float', *wanted]
  assert table.rows == [
    [
      'float',
      '90.00 ± 1.00 [88.00, 91.50]',
      '+0.00',
      '80.00 [70.00, 90.00]',
      '-',
      '50.00',
    ],
    [
      'integer',
      '90.00',
      '+0.00 [-1.20, +1.20]',
      '-',
      '100.00 [99.00, 100.00]',
      '-',
    ],
  ]
  # They are of differences to float: to another row there is none.
  others = {'run a': rows['float'], 'run b': rows['integer']}
  assert tables.results_table(others).rows[1][2] == '+0.00'
  (note,) = table.notes
  assert note.startswith('In brackets: 95 % intervals over people. ')
  assert 'another training (seed, processor)' in note
  rows = {'integer': {'accuracy': 1, 'low/rank1': 1, 'high/rank1': 1}}
  assert (
    'they need pairs that say who is shown'
    in tables.results_table(rows).notes[1]
  )
  assert not tables.results_table({'integer': {'auc': 1}}).notes


def test_benchmarks_stand_beside_each_other_with_their_mean():
  results = {
    'lfw': {'float': {'accuracy': 0.99}, 'integer': {'accuracy': 0.98}},
    'CFP-FP': {'float': {'accuracy': 0.93}, 'integer': {'accuracy': 0.9}},
  }
  table = tables.benchmarks_table(results)
  assert table.titles == ['accuracy %', 'lfw', 'CFP-FP', 'mean']
  assert table.rows == [
    ['float', '99.00', '93.00', '96.00'],
    ['integer', '98.00', '90.00', '94.00'],
  ]


def test_a_single_precision_has_no_difference():
  table = tables.results_table({'integer': {'accuracy': 0.5}})
  assert table.titles == ['precision', 'accuracy %']


def test_rows_of_other_pairs_have_no_difference():
  rows = {'a': {'accuracy': 0.5, 'auc': 0.5}, 'b': {'accuracy': 0.75}}
  table = tables.results_table(rows, name='run', differences=False)
  assert table.titles == ['run', 'accuracy %', 'AUC']
  assert table.rows == [['a', '50.00', '0.50000'], ['b', '75.00', '-']]


def test_a_file_held_to_no_contract_says_so():
  row = {'bytes': 999_908, 'outputs': 4096, 'differing': 13, 'largest': 2}
  row |= {'contract': None, 'milliseconds': 1.824}
  table = tables.formats_table({'onnx_qdq': row}, ['Read me.'])
  assert dict(zip(table.titles, table.rows[0])) == {
    'format': 'onnx_qdq',
    'contract': 'none',
    'bytes': '999,908',
    'outputs': '4,096',
    'differing': '13',
    'largest': '2',
    'ms/image': '1.82',
  }
  assert table.notes == ['Read me.']


def test_a_table_needs_a_row():
  with pytest.raises(ValueError, match='at least one precision'):
    tables.results_table({})


def test_json_keeps_full_precision_and_plain_types():
  rows = {
    'float': {
      'accuracy': np.float64(1 / 3),
      'auc': jnp.float32(0.5),
      'eer': float('nan'),
      'bytes': np.int64(7),
    }
  }
  text = json.dumps(tables.results_json(rows), allow_nan=False)
  assert json.loads(text) == {
    'float': {'accuracy': 1 / 3, 'auc': 0.5, 'eer': None, 'bytes': 7}
  }
