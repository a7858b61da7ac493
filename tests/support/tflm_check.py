"""Whether TFLM has a program's integers, or its rules say which layer not."""

import numpy as np
import pytest

from faceqat.evaluators import exactness
from faceqat.export import tflite, tflm, tflm_rules


def check_integers(program, images, tensors, embeddings):
  """Fails where TFLM differs and the rules for it do not name the layer.

  Args:
    program: of the contract `tflite_ref`.
    images: [B, H, W, 3] uint8.
    tensors: the evaluator's, by name, of the first images.
    embeddings: the evaluator's, of all.
  """
  pytest.importorskip(
    'tflite_micro', reason='TFLM has no wheel for this system'
  )
  count = len(tensors[program.output])
  tapped = tflm.make_runner(tflite.to_bytes(program, taps=True))
  found = exactness.first_difference(program, tensors, tapped(images[:count]))
  try:
    tflm_rules.check_program(program)
  except ValueError:
    # Some input of a layer has another result; these images may not have it.
    if found is not None:
      inputs = program.inputs_of(found.operator)
      output = program.tensors[found.operator.output]
      with pytest.raises(ValueError, match=found.operator.name):
        tflm_rules.check_operator(found.operator, inputs, output)
    return
  assert found is None, found
  shipped = tflm.make_runner(tflite.to_bytes(program))(images)
  np.testing.assert_array_equal(shipped[program.output], embeddings)
