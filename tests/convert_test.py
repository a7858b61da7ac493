import types

import numpy as np
import pytest

from faceqat import convert
from faceqat.checkpoint import load_network
from faceqat.data.synthetic import SyntheticFaces
from faceqat.evaluate import make_integer_predict
from faceqat.integer import program as integer_program
from faceqat.quant.quantizers import RangesMissingError
from faceqat.quant.spec import FAKE_QUANT, FLOAT
from faceqat.train_state import make_predict

pytestmark = pytest.mark.usefixtures('quick_compilation')


def run_main(monkeypatch, **flags):
  flags = types.SimpleNamespace(step='latest', **flags)
  monkeypatch.setattr(convert, 'flags', types.SimpleNamespace(FLAGS=flags))
  convert.main()


def test_the_file_has_the_network(quantized_run, tmp_path, monkeypatch, capsys):
  workdir, _ = quantized_run
  out = tmp_path / 'tiny.safetensors'
  run_main(monkeypatch, workdir=str(workdir), out=str(out))
  assert f'{out}: ' in capsys.readouterr().out
  assert list(tmp_path.iterdir()) == [out]
  program = integer_program.load(out)
  assert program.metadata['model'] == 'tiny'
  assert program.metadata['step'] == '10'
  assert program.output == 'embedding'
  names = [operator.name for operator in program.operators]
  assert 'block/depthwise' in names
  assert 'block/add' in names
  # The embedding's zero point is 0, as the config's override asks.
  assert program.tensors['embedding'].zero_point == 0
  image = program.tensors[program.input]
  assert tuple(image.shape) == (32, 32, 3)


def test_the_program_computes_what_training_simulated(quantized_run):
  workdir, _ = quantized_run
  network = load_network(str(workdir))
  faces = SyntheticFaces(8, 1, image_size=32, seed=5)
  images = np.stack([faces[i]['image'] for i in range(8)])
  program = convert.lower(network)
  integer = make_integer_predict(program)(images)
  floats, fakes = (
    np.asarray(make_predict(network.model, network.variables, mode)(images))
    for mode in (FLOAT, FAKE_QUANT)
  )

  def error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)

  # Fake quantization rounds in float: an activation that lies on the edge may
  # fall to the other side, one step of 255, and few do.
  assert error(integer * program.tensors[program.output].scale, fakes) < 0.02
  assert error(floats, fakes) > 1e-4


def test_lowering_twice_gives_the_same_file(quantized_run, tmp_path):
  network = load_network(str(quantized_run[0]))
  for name in ('a', 'b'):
    integer_program.save(convert.lower(network), tmp_path / name)
  assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_a_network_without_ranges_is_refused_with_a_remedy(
  float_run, tmp_path, monkeypatch
):
  out = tmp_path / 'none.safetensors'
  with pytest.raises(RangesMissingError, match='calibrate with quant'):
    run_main(monkeypatch, workdir=str(float_run), out=str(out))
  assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_is_named_before_any_work(
  tmp_path, monkeypatch
):
  out = tmp_path / 'new' / 'a.safetensors'
  with pytest.raises(ValueError, match=f'{out}: there is no folder'):
    run_main(monkeypatch, workdir='never read', out=str(out))
  assert not list(tmp_path.iterdir())


def test_a_folder_without_a_run_is_refused(tmp_path, monkeypatch):
  with pytest.raises(ValueError, match='holds no checkpoints'):
    run_main(monkeypatch, workdir=str(tmp_path), out=str(tmp_path / 'a'))
  assert not list(tmp_path.iterdir())
