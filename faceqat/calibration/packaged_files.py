"""The names of the networks that come with faceqat, and their files."""

import pathlib

# OpenCV's SFace (Zhong et al. 2021), Apache 2.0 licence.
NAMES = ('sface_int8',)


def path_of(name: str) -> pathlib.Path:
  """The file with what was measured of a network of `NAMES`."""
  return pathlib.Path(__file__).with_name(f'{name}.safetensors')


def rates_path_of(name: str) -> pathlib.Path:
  """The file with its false-match rates (`identification.match_table`)."""
  return pathlib.Path(__file__).with_name(f'{name}.rates.json')
