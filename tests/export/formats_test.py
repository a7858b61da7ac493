import pytest

from faceqat.export.formats import FORMATS, choose_formats
from faceqat.integer.program import CONTRACTS


def test_the_usual_formats_are_those_of_the_contract():
  assert choose_formats(None, 'tflite_ref') == [
    'program',
    'tflite',
    'onnx',
    'onnx_qdq',
  ]
  # `--formats=` names none.
  assert choose_formats([], 'xnnpack') == ['program', 'tflite', 'onnx_qdq']


def test_named_formats_are_written_once_in_the_order_given():
  names = ['onnx', 'tflite_int8', 'onnx']
  assert choose_formats(names, 'tflite_ref') == ['onnx', 'tflite_int8']


def test_an_unknown_format_is_refused_and_the_known_are_listed():
  with pytest.raises(ValueError, match=r'=caffe: there is no .*tflite, onnx'):
    choose_formats(['tflite', 'caffe'], 'tflite_ref')


def test_a_format_that_cannot_keep_the_contract_is_refused():
  with pytest.raises(ValueError, match='bits of tflite_ref, not those of xnn'):
    choose_formats(['program', 'onnx'], 'xnnpack')


def test_files_and_contracts_are_told_apart():
  files = [form.file for form in FORMATS.values()]
  assert len(set(files)) == len(files)
  assert all(set(form.contracts) <= set(CONTRACTS) for form in FORMATS.values())
