import json

import jax
import pytest
from pipeline_test import Numbered, make, numbers, take
from tiny_run import assert_same_end, make_config, taken_batches

from faceqat.faces.images import DamagedImageError
from faceqat.training import trainer
from faceqat.training.loop import train

ONE = jax.devices()[:1]


def test_the_position_before_a_damaged_image_is_that_of_the_next_batch():
  source = Numbered([12, 12])
  whole = make(source, 4)
  wanted = [numbers(batch) for batch in take(whole, 6)]
  whole.close()
  source.damaged = frozenset(wanted[3][:1])
  iterator = make(source, 4)
  found = [numbers(batch) for batch in take(iterator, 3)]
  with pytest.raises(DamagedImageError):
    next(iterator)
  position = json.loads(json.dumps(iterator.get_state()))
  iterator.close()
  # It was restored, and the run goes on.
  source.damaged = frozenset()
  iterator = make(source, 4)
  iterator.set_state(position)
  found += [numbers(batch) for batch in take(iterator, 3)]
  iterator.close()
  assert found == wanted


def test_an_error_in_the_data_saves_the_state_first(
  quantized_run, tmp_path, monkeypatch, capsys
):
  config = make_config()
  whole_dir, whole_batches = quantized_run

  def fail(batch):
    if batch == 4:
      raise DamagedImageError('face.png cannot be decoded')

  # In a batch, and then in an image to validate on.
  with taken_batches(fail) as batches, pytest.raises(ValueError, match='face'):
    train(config, str(tmp_path), ONE)
  assert 'saved step 4, before the error' in capsys.readouterr().out
  with monkeypatch.context() as patch, taken_batches() as more:
    patch.setattr(trainer, 'validate', lambda *_: fail(4))
    with pytest.raises(ValueError, match='face'):
      train(config, str(tmp_path), ONE)
  assert 'saved step 6, before the error' in capsys.readouterr().out
  with taken_batches() as last:
    assert train(config, str(tmp_path), ONE) is None
  assert 'continues from step 6 of 10' in capsys.readouterr().out
  assert batches + more + last == whole_batches
  assert_same_end(config, whole_dir, tmp_path)
