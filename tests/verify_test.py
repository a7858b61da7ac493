"""The answer of `verify`, and its exit status."""

import types

import command_line
import pytest

from faceqat import verify
from faceqat.api import loading as models
from faceqat.api.decision import Decision, Rate

RATE = Rate(0.00012, 0.0, 0.0004, 'LFW')


@pytest.fixture
def answer(monkeypatch, capsys):
  """Gives a decision to the command; returns its status and lines."""

  def answer(decision, **flags):
    asked = []

    def run(*images, **settings):
      asked.append((images, settings))
      return decision

    def load(*arguments, **settings):
      asked.append((arguments, settings))
      return types.SimpleNamespace(verify=run)

    monkeypatch.setattr(models, 'load', load)
    given = [f'--{name}={value}' for name, value in flags.items()]
    with command_line.arguments_of(verify, 'a.jpg', 'b.jpg', *given) as images:
      status = verify.main(*images)
    return status, capsys.readouterr().out.splitlines(), asked

  return answer


@pytest.mark.parametrize(
  ('same', 'status', 'line'),
  [(True, 0, 'the same person'), (False, 1, 'not the same person')],
)
def test_the_answer_is_a_line_a_status_and_its_numbers(
  same, status, line, answer
):
  decision = Decision(same, 0.51234, 0.4189, RATE, '')
  found, lines, asked = answer(decision)
  assert found == status
  assert lines == [
    line,
    'score: 0.5123',
    'threshold: 0.4189',
    'false-match rate: 0.012 % [0, 0.04] of pairs of different people reach '
    'this score (LFW)',
  ]
  assert asked == [
    (('sface_int8', None), {'step': 'latest'}),
    (('a.jpg', 'b.jpg'), {'threshold': None, 'aligned': False}),
  ]


def test_what_cannot_be_decided_says_why(answer):
  decision = Decision(None, None, 0.4, None, 'no face is found in a.jpg')
  status, lines, asked = answer(
    decision, model='m.tflite', threshold=0.4, aligned=True
  )
  assert status == 2
  assert lines == ['undecided: no face is found in a.jpg', 'threshold: 0.4000']
  assert asked[0][0] == ('m.tflite', None)
  assert asked[1][1] == {'threshold': 0.4, 'aligned': True}
