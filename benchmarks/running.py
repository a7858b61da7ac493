"""Starts commands in processes of their own, and checks lists of names."""

import pathlib
import subprocess
import sys
from collections.abc import Collection, Sequence
from typing import TextIO

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_module(
  module: str, *arguments: str, log: TextIO | None = None
) -> str | None:
  """Runs a command; returns what it prints, or writes it to a log."""
  return subprocess.run(
    [sys.executable, '-m', module, *arguments],
    cwd=ROOT,
    check=True,
    text=True,
    stdout=log or subprocess.PIPE,
    stderr=log and subprocess.STDOUT,
  ).stdout


def check_names(what: str, names: Sequence[str], known: Collection[str]):
  """Raises a ValueError for the first name that is not known."""
  unknown = [name for name in names if name not in known]
  if unknown:
    raise ValueError(f'{what}: {unknown[0]} is none of {", ".join(known)}')
