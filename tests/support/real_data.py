"""Real faces and weights, which are no part of the repository.

They lie in the folder that FACEQAT_DATA names, or else in `shared` beside the
repository; README.md says what they are. What needs them is skipped elsewhere.
"""

import os
import pathlib

import pytest
from settings import ROOT

_FOLDER = pathlib.Path(os.environ.get('FACEQAT_DATA', ROOT.parent / 'shared'))


def path(name: str) -> pathlib.Path:
  """Of a file or folder there, whether it exists or not."""
  return _FOLDER.absolute() / name


def needs(*paths: pathlib.Path) -> pytest.MarkDecorator:
  """Skips a test where one of them does not exist."""
  missing = [str(path) for path in paths if not path.exists()]
  return pytest.mark.skipif(
    bool(missing), reason=f'needs {", ".join(missing)}; see FACEQAT_DATA'
  )
