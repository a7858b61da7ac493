"""Drawn people and a program, for the tests of identification."""

import functools

import pytest
from identify_run import draw_people, run_it, write_program

from faceqat.identification import embedders

# A network that is loaded once is compiled once.
_load_once = functools.cache(embedders.load)


@pytest.fixture(scope='session')
def program(quantized_run, tmp_path_factory):
  folder = tmp_path_factory.mktemp('program')
  return write_program(quantized_run[0], folder / 'program.safetensors')


@pytest.fixture(scope='session')
def people(tmp_path_factory):
  return draw_people(tmp_path_factory.mktemp('people'))


@pytest.fixture
def ask(program, people, monkeypatch):
  """Identifies the probes, or others, by the program, or another network."""
  monkeypatch.setattr(embedders, 'load', _load_once)

  def run(out, model=program, **changes):
    folders = {'gallery': people / 'gallery', 'probe': people / 'probes'}
    if 'held_out' in changes:
      folders = {}
    return run_it(model, out, **{**folders, **changes})

  return run
