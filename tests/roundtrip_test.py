"""What an export says where a file differs."""

import dataclasses

import numpy as np
import pytest
from onnx_integer_test import small_program

from faceqat.export import formats, roundtrip

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 2, 2, 3), np.uint8)
LATE = 10


@pytest.mark.parametrize(
  ('with_taps', 'first', 'layer'),
  [
    (
      True,
      'first difference: layer embedding (Dense), 1 of 5 outputs',
      'embedding   20.0000%      1',
    ),
    (
      False,
      'no layer differs where the file shows all of them',
      'embedding    0.0000%      0',
    ),
  ],
)
def test_a_difference_on_one_late_image_is_explained(
  with_taps, first, layer, tmp_path, monkeypatch, capsys
):
  """A runtime that errs on one image, where it shows all tensors or not."""

  def read(program, path, taps):
    right = formats.make_run(program, taps=taps)

    def run(images):
      values = {name: value.copy() for name, value in right(images).items()}
      if (with_taps or not taps) and (images == IMAGES[LATE]).all():
        values['embedding'][0, 3] ^= 1
      return values

    return run

  form = dataclasses.replace(formats.FORMATS['program'], read=read)
  monkeypatch.setitem(formats.FORMATS, 'program', form)
  program = small_program()
  (tmp_path / '.program.safetensors.0a1b2c3d.tmp').write_text('half')
  results = roundtrip.export(program, tmp_path, ['program'], IMAGES)
  assert not list(tmp_path.glob('.*'))
  assert results['program'].broken
  assert results['program'].comparison.differing == 1
  report = roundtrip.report_path(tmp_path, 'program').read_text()
  assert report.startswith(first)
  assert layer in report.splitlines()
  assert first in capsys.readouterr().out
