"""Packs `configs/` as `faceqat.configs`; pyproject.toml says all else.

There, packages are either found or listed, and this one is not below the other.
"""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=['faceqat*']), 'faceqat.configs'],
  package_dir={'faceqat.configs': 'configs'},
)
