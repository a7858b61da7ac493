import json

import numpy as np
import pytest

from faceqat.training import history


def write(folder, lines):
  text = ''.join(
    f'{line if isinstance(line, str) else json.dumps(line)}\n' for line in lines
  )
  (folder / 'metrics.jsonl').write_text(text)


def test_a_step_that_was_done_twice_has_its_later_value(tmp_path):
  write(
    tmp_path,
    [
      {'step': 1, 'loss': 3.0},
      {'step': 2, 'loss': 2.0, 'rate': 0.1},
      {'step': 1, 'loss': 2.5},
    ],
  )
  curves = history.read_curves(tmp_path)
  np.testing.assert_array_equal(curves['loss'], ([1, 2], [2.5, 2.0]))
  np.testing.assert_array_equal(curves['rate'], ([2], [0.1]))


def test_a_run_that_was_never_logged_has_no_curves(tmp_path):
  assert history.read_curves(tmp_path) == {}


@pytest.mark.parametrize('last', ['{"step": 2, "lo', '', '[1'])
def test_a_last_line_that_is_being_written_is_left_out(last, tmp_path):
  write(tmp_path, [{'step': 1, 'loss': 3.0}, last])
  curves = history.read_curves(tmp_path)
  np.testing.assert_array_equal(curves['loss'], ([1], [3.0]))


@pytest.mark.parametrize('line', ['{"step": 2, "lo', '[1]', '{"loss": 1}', '3'])
def test_damage_within_is_said_with_its_line(line, tmp_path):
  write(tmp_path, [{'step': 1, 'loss': 3.0}, line, {'step': 3, 'loss': 1.0}])
  with pytest.raises(ValueError, match=r'metrics.jsonl, line 2 is damaged'):
    history.read_curves(tmp_path)
