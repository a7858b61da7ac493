"""Runs a file in a JavaScript runtime, an image at a time, by Node.js."""

import json
import pathlib
import shutil
import subprocess
import weakref
from collections.abc import Callable, Sequence

import numpy as np


def make_runner(
  script: pathlib.Path,
  arguments: Sequence[str],
  size: int,
  *,
  runtime: str,
  package: str,
) -> Callable[[np.ndarray], np.ndarray]:
  """Starts a script, which loads the file.

  The script writes a line of JSON when it is ready: {}, {"missing": true} or
  {"error": ...}. Then it reads images and writes the bytes of their outputs.

  Args:
    script: of Node.js.
    arguments: for it.
    size: of an output, in bytes.
    runtime: its name.
    package: of npm, that brings it.

  Returns:
    A function from uint8 images [B, H, W, 3] to uint8 [B, size], which runs
    them one by one in a process of its own.

  Raises:
    ImportError: Node.js or the runtime is not installed.
    ValueError: the runtime does not take the file.
  """
  process = _start(script, arguments, runtime)
  answer = json.loads(process.stdout.readline() or '{"error": "it ended"}')
  if answer:
    _end(process)
  if 'missing' in answer:
    raise ImportError(
      f'{runtime} is not installed: npm install {package} in the folder '
      'that you call this from, or name its node_modules in NODE_PATH'
    )
  if 'error' in answer:
    raise ValueError(f'{runtime} does not take the file: {answer["error"]}')

  def run(images):
    results = []
    for image in images:
      process.stdin.write(image.tobytes())
      process.stdin.flush()
      results.append(np.frombuffer(process.stdout.read(size), np.uint8))
    return np.stack(results)

  weakref.finalize(run, _end, process)
  return run


def _start(
  script: pathlib.Path, arguments: Sequence[str], runtime: str
) -> subprocess.Popen:
  node = shutil.which('node')
  if node is None:
    raise ImportError(
      f'{runtime} runs in Node.js here, which is not installed: put the '
      'program node into PATH'
    )
  return subprocess.Popen(
    [node, str(script), *arguments],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
  )


def _end(process: subprocess.Popen):
  """Ends what reads until there is no more."""
  process.stdin.close()
  process.stdout.close()
  process.wait()
