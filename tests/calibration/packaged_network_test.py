"""SFace in integers: the same program on every machine, and what it ships."""

import functools

import jax
import numpy as np
import pytest

from faceqat.calibration import packaged_files, packaged_network
from faceqat.calibration.lower import lower
from faceqat.calibration.packaged_network import load_packaged
from faceqat.evaluators import rate_table
from faceqat.files import packaged
from faceqat.integer import program as integer_program
from faceqat.training.checkpoint import load_network

# Its digest; docs/results.md states it too.
PROGRAM = '923df67accd475bf2a0bcd27a0815445054ce89a52217204c019e836d71fe7d1'


@functools.cache
def network():
  return load_packaged('sface_int8')


def test_the_program_is_the_same_on_every_machine():
  assert integer_program.digest(lower(network())) == PROGRAM


def test_its_false_match_rates_are_those_of_the_program():
  table = rate_table.load(packaged_files.rates_path_of('sface_int8'))
  assert table.program == PROGRAM


def test_a_name_stands_for_a_run():
  found = load_network('sface_int8')
  assert found.config.model.name == 'mobilenet_v1'
  assert found.config.fingerprint.template == 'arcface'
  assert found.config.fingerprint.weights.startswith('OpenCV SFace: RGB')
  # Nothing of the machine that measured it.
  assert not found.config.data.path
  assert not found.config.eval.path


def test_what_ships_is_packaged_again_as_it_is(tmp_path):
  path = tmp_path / 'again.safetensors'
  packaged_network.package(network(), 'a test', path)
  again = packaged_network.measured.load(path)
  shipped = packaged_network.measured.load(packaged_files.path_of('sface_int8'))
  for name, values in shipped.ranges.items():
    np.testing.assert_array_equal(again.ranges[name], values)
  for name, values in shipped.biases.items():
    np.testing.assert_array_equal(again.biases[name], values)
  # A quotient of float32 numbers is not always the factor that was there.
  for name, values in shipped.factors.items():
    np.testing.assert_allclose(again.factors[name], values, rtol=2**-22)


def test_the_weights_alone_are_those_before_the_calibration():
  found = packaged_network.load_float('sface')
  assert found.model == network().model
  shipped = packaged_network.measured.load(packaged_files.path_of('sface_int8'))
  # Nothing of the ranges, factors and biases is in them yet.
  ranges = jax.tree.leaves(found.variables['quant_stats'])
  assert not any(map(np.any, ranges))
  jax.tree.map(
    np.testing.assert_array_equal,
    packaged_network.measured.apply(found.variables, shipped),
    network().variables,
  )


def test_weights_that_are_not_installed_are_named(monkeypatch):
  other = packaged.SFACE._replace(name='sface_2030.onnx')
  monkeypatch.setitem(packaged_network.pretrained.PACKAGED, 'sface', other)
  with pytest.raises(ValueError, match=r'sface_2030\.onnx, .*another --model'):
    load_packaged('sface_int8')
