import dataclasses
import itertools
import json

import command_line
import numpy as np
import pytest
from PIL import Image

from faceqat import convert
from faceqat.export import formats, tflite_builder
from faceqat.integer import operators as ops
from faceqat.integer import program as integer_program
from faceqat.quant.quantizers import RangesMissingError


def run_main(checkpoint, out, **flags):
  values = {'num_images': 6, **flags}
  command_line.run(convert, model=checkpoint, out=out, **values)


def table(printed: str, title: str = 'format') -> dict[str, list[str]]:
  """The cells of the table whose first column has a title, by what is there."""
  lines = printed.splitlines()
  (start,) = (i for i, line in enumerate(lines) if line.startswith(f'{title} '))
  rows = itertools.takewhile(bool, lines[start + 2 :])
  return {line.split()[0]: line.split()[1:] for line in rows}


@pytest.fixture
def workdir(quantized_run):
  return quantized_run[0]


@pytest.mark.parametrize(
  ('contract', 'exact'),
  [
    ('tflite_ref', ['program', 'tflite', 'onnx']),
    ('xnnpack', ['program', 'tflite']),
  ],
)
def test_every_file_gives_the_bits_of_its_contract(
  workdir, tmp_path, capsys, contract, exact
):
  out = tmp_path / 'new' / 'export'
  run_main(workdir, out, contract=contract)
  printed = capsys.readouterr().out
  rows = table(printed)
  assert list(rows) == [*exact, 'onnx_qdq']
  # A difference that breaks no promise is named once, as what it is.
  assert 'first difference' not in printed
  *_, last = printed.splitlines()
  assert last.startswith('succeeded: program.safetensors, model.tflite')
  assert 'on 6 images; model_qdq.onnx promises no bits' in last
  for name, (kept, size, outputs, differing, largest, _) in rows.items():
    assert int(size.replace(',', '')) == (
      (out / formats.FORMATS[name].file).stat().st_size
    )
    # Six images, sixteen coordinates.
    assert outputs == '96'
    if name == 'onnx_qdq':
      assert kept == 'none'
    else:
      assert (kept, differing, largest) == (contract, '0', '0')
  # Which bytes are which, of all formats.
  parts = table(printed, 'bytes')
  assert parts['all'] == [cells[1] for cells in rows.values()]
  written = json.loads((out / 'exactness.json').read_text())
  assert list(written) == list(rows)
  for name, (_, _, outputs, differing, _, _) in rows.items():
    assert written[name]['outputs'] == int(outputs)
    assert written[name]['differing'] == int(differing.replace(',', ''))
  loaded = integer_program.load(out / 'program.safetensors')
  assert loaded.contract == contract
  metadata = tflite_builder.read_metadata((out / 'model.tflite').read_bytes())
  assert metadata['contract'] == contract
  assert metadata['channel_order'] == 'RGB'
  assert metadata['alignment'] == 'drawn'
  assert metadata['model'] == 'tiny'


def test_each_target_has_a_folder_and_a_row(workdir, tmp_path, capsys):
  run_main(workdir, tmp_path, target='litert,onnxruntime,tflm')
  printed = capsys.readouterr().out
  rows = table(printed, 'target')
  written = json.loads((tmp_path / 'targets.json').read_text())
  assert list(rows) == list(written) == ['litert', 'onnxruntime', 'tflm']
  kept = {
    'litert': 'xnnpack',
    'onnxruntime': 'tflite_ref',
    'tflm': 'tflite_ref',
  }
  for name, contract in kept.items():
    (file,) = (tmp_path / name).iterdir()
    size = file.stat().st_size
    assert rows[name][:2] == [contract, f'{size:,}']
    assert written[name]['files'] == {file.name: size}
    if written[name]['not_run']:
      # Where there is no package of TFLM.
      assert name == 'tflm'
      continue
    assert rows[name][2:5] == ['96', '0', '0']
    assert written[name]['nearness']['least_cosine'] == pytest.approx(1)
  if not written['tflm']['not_run']:
    (figures,) = written['tflm']['figures']
    assert printed.count(f'model.tflite  {figures["arena bytes"]:>11,}\n') == 1
  assert printed.splitlines()[-1].startswith('succeeded: litert, onnxruntime')


def test_the_list_of_targets_needs_no_network(capsys):
  command_line.run(convert, target='list')
  printed = capsys.readouterr().out
  assert 'tflm' in printed
  assert 'the same bits on microcontrollers' in printed


def test_int4_weights_and_a_normalised_embedding(workdir, tmp_path, capsys):
  sizes, programs = {}, {}
  for weights in ('int8', 'int4'):
    out = tmp_path / weights
    run_main(
      workdir,
      out,
      weights=weights,
      normalize=weights == 'int4',
      formats='program,tflite,tflite_int8,onnx',
    )
    rows = table(capsys.readouterr().out)
    assert [row[3] for row in rows.values()] == ['0'] * 4
    sizes[weights] = (out / 'model.tflite').stat().st_size
    programs[weights] = integer_program.load(out / 'program.safetensors')
  assert sizes['int4'] < sizes['int8']
  for operator in programs['int4'].operators:
    if isinstance(operator, ops.Conv2D):
      assert operator.weight_bits == (8 if operator.depthwise else 4)
  assert programs['int8'].output == 'embedding'
  assert programs['int4'].output == 'normalized'
  assert programs['int4'].tensors['normalized'].scale == 1 / 128


def test_images_of_the_users_own_are_taken(workdir, tmp_path, capsys):
  rng = np.random.default_rng(0)
  # At any depth, among other files.
  for file in ('0.png', 'b/1.png'):
    path = tmp_path / 'faces' / file
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path)
  (tmp_path / 'faces' / 'list.txt').write_text('0.png')
  run_main(
    workdir,
    tmp_path / 'out',
    images=str(tmp_path / 'faces'),
    formats='program',
  )
  assert table(capsys.readouterr().out)['program'][2] == '32'


def test_a_broken_contract_fails_and_names_the_layer(
  workdir, tmp_path, monkeypatch, capsys
):
  """A writer that gets one layer wrong, with taps and without."""
  right, to_bytes = formats.FORMATS['tflite'], formats.tflite.to_bytes

  def wrong(program, **options):
    operators = [
      dataclasses.replace(operator, bias=operator.bias + 500)
      if operator.name == 'block/project'
      else operator
      for operator in program.operators
    ]
    changed = dataclasses.replace(program, operators=tuple(operators))
    return to_bytes(changed, **options)

  monkeypatch.setattr(formats.tflite, 'to_bytes', wrong)
  form = formats._tflite_format(right.file, 'uint8')
  monkeypatch.setitem(formats.FORMATS, 'tflite', form)
  with pytest.raises(SystemExit, match=r'broken by tflite; .*_tflite.txt'):
    run_main(workdir, tmp_path, formats='tflite,program')
  printed = capsys.readouterr().out
  rows = table(printed)
  assert rows['program'][3] == '0'
  assert int(rows['tflite'][3]) > 0
  report = (tmp_path / 'difference_tflite.txt').read_text()
  first = 'first difference: layer block/project (Conv2D)'
  assert report.startswith(first)
  assert first in printed
  # A later export that is right takes the report away.
  monkeypatch.setitem(formats.FORMATS, 'tflite', right)
  run_main(workdir, tmp_path, formats='tflite')
  assert not (tmp_path / 'difference_tflite.txt').exists()


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ({'formats': 'onnx', 'contract': 'xnnpack'}, 'not those of xnnpack'),
    (
      {'weights': 'int4', 'contract': 'xnnpack'},
      'XNNPACK has no convolution with int4',
    ),
    ({'target': 'litert', 'weights': 'int4'}, 'no convolution with int4'),
    ({'target': 'tflm', 'formats': 'tflite'}, 'leave --formats out'),
    ({'target': 'tflm', 'contract': 'xnnpack'}, 'leave --contract out'),
    ({'accuracy': True}, '--accuracy is of targets'),
    ({'target': 'caffe'}, 'no such target'),
    ({'step': '7'}, "no checkpoint '7'"),
    ({'images': 'nowhere'}, 'nowhere is no folder with images'),
  ],
)
def test_wrong_flags_leave_nothing_behind(workdir, tmp_path, flags, message):
  out = tmp_path / 'out'
  with pytest.raises(ValueError, match=message):
    run_main(workdir, out, **flags)
  assert not out.exists()


def test_a_file_in_the_place_of_the_folder_is_left_alone(workdir, tmp_path):
  out = tmp_path / 'model.tflite'
  out.write_bytes(b'mine')
  with pytest.raises(ValueError, match=r'model\.tflite is a file; give a fol'):
    run_main(workdir, out)
  assert out.read_bytes() == b'mine'


def test_a_network_without_ranges_is_refused_with_a_remedy(float_run, tmp_path):
  with pytest.raises(RangesMissingError, match='calibrate with quant'):
    run_main(float_run, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match='holds no checkpoints'):
    run_main(tmp_path, tmp_path / 'out')
  assert not list(tmp_path.iterdir())
