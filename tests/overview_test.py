"""The picture of three faces and two decisions."""

import json
import types

import command_line
import numpy as np

from examples import overview
from faceqat.identification import embedders

EMBEDDINGS = np.array([[100, 0], [90, 50], [-3, 127]], np.int8)


def test_scores_and_decisions_are_those_of_the_integers(
  monkeypatch, tmp_path, capsys
):
  embedder = types.SimpleNamespace(
    image_size=(112, 112), predict=lambda images: np.int16(EMBEDDINGS)
  )
  monkeypatch.setattr(embedders, 'load', lambda path: embedder)
  shown = []
  draw = overview.draw
  monkeypatch.setattr(
    overview, 'draw', lambda *args: shown.append(draw(*args)) or shown[0]
  )
  results = {'integer_match': {'threshold': 0.5}}
  (tmp_path / 'results.json').write_text(json.dumps(results))
  out = tmp_path / 'overview.png'
  command_line.run(overview, model=tmp_path, out=out)
  assert out.read_bytes().startswith(b'\x89PNG')
  assert str(out) in capsys.readouterr().out
  words = {text.get_text() for axes in shown[0].axes for text in axes.texts}
  # 90 / |(90, 50)| is 0.87, and -3 / |(-3, 127)| is -0.02.
  assert '0.87 ≥ 0.50:\nsame person' in words
  assert '-0.02 < 0.50:\nnot the same' in words
