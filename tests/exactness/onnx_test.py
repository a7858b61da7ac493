"""Each operator against ONNX Runtime: no output may differ.

The integer graph is held to the contract `tflite_ref`; the QDQ form, which
promises nothing, to a single step for a single operator.
"""

import functools
import math

import numpy as np
import onnxruntime
import pytest
import rules
from cases import KINDS, cases, compute

from faceqat.export import onnx_runtime
from faceqat.export.onnx_integer import IntegerGraph
from faceqat.export.onnx_qdq import QdqForm, QdqGraph
from faceqat.integer import operators as ops

RUNTIME = f'ONNX Runtime {onnxruntime.__version__}'


def run(graph, case, **options):
  model = graph().operators_model(
    case.tensors, case.operators, case.inputs, case.outputs
  )
  content = model.SerializeToString()
  return onnx_runtime.make_runner(content, **options)(*case.arrays)


@pytest.mark.parametrize('kind', KINDS)
def test_no_output_differs(kind):
  rules.check_no_output_differs(
    cases(kind), functools.partial(run, IntegerGraph), RUNTIME
  )


@pytest.mark.parametrize('activations', ['uint8', 'int8'])
@pytest.mark.parametrize('kind', KINDS)
def test_the_qdq_form_is_at_most_one_step_away(kind, activations):
  # On x86, int8 is joined into integer kernels on request alone.
  config = {'session.qdqisint8allowed': '1'}
  graph = functools.partial(QdqGraph, QdqForm(activations))
  for case in cases(kind, seed=2, outputs=10_000):
    got = run(graph, case, session_config=config)
    ours = compute(case)
    for operator in case.operators:
      name = operator.output
      # Halves that fall to the other side; nothing else is in one operator.
      allowed = 1
      if isinstance(operator, ops.SumPReLU):
        # Its rise is one more, whose step is so many of the output's.
        allowed += math.ceil(operator.rise_scale / case.tensors[name].scale)
      steps = np.abs(got[name].astype(np.int32) - ours[name])
      assert steps.max() <= allowed, (case.label, name)
      assert (steps > 0).mean() < 0.5, (case.label, name)
