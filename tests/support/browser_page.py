"""Drives the page of examples/browser, and compares it with Python.

  python -m tests.support.browser_page PHOTOGRAPHS --page=page
  python -m tests.support.browser_page PHOTOGRAPHS

PHOTOGRAPHS is a folder of images, in folders or not; the page is one that
`python -m examples.browser` made of the same network. It prints how far the
page's landmarks, crops, embeddings and scores are from those of
`faceqat.Model`, and what a photograph takes in the browser. Without a page it
compares Python with itself, where OpenCV does without AVX2.
"""

import concurrent.futures
import contextlib
import functools
import http.server
import itertools
import multiprocessing
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags

import faceqat
from faceqat import command
from faceqat.export import onnx_runtime
from faceqat.faces import photographs
from faceqat.files import decoding
from faceqat.integer import template_score
from tests.support import browser

# What one side of the page holds, and what it says.
_SIDE = """import('./page.js').then(({slots}) => {
  const {element, found} = slots[%d];
  return {
    state: element.querySelector('.state').textContent,
    landmarks: found?.faces[0]?.landmarks,
    crop: found?.crop && [...found.crop.data],
    shape: found?.crop && [found.crop.height, found.crop.width, 3],
    embeddings: found?.embeddings?.map(values => [...values]) ?? null,
    detecting: found?.detecting,
    embedding: found?.embedding,
  };
})"""


class _Handler(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *args):
    """Says nothing."""


@contextlib.contextmanager
def served(folder):
  """The address of a folder."""
  handler = functools.partial(_Handler, directory=folder)
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  try:
    yield f'http://127.0.0.1:{server.server_port}/'
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


class Page:
  """The page in a window of Chromium."""

  def __init__(self, window: browser.Browser, address: str):
    self.window, self.address = window, address

  def open(self, width: int = 1100, scheme: str = 'light') -> str:
    """Shows it, and gives what it says when it has loaded, or could not."""
    self.window.open(f'{self.address}index.html', width, scheme=scheme)
    loading = "document.querySelector('#loading').textContent"
    return self.wait_for(f"!{loading}.startsWith('Loading') && {loading}")

  def wait_for(self, expression: str, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while not (value := self.window.evaluate(expression)):
      assert time.monotonic() < deadline, self.text('body')
      time.sleep(0.02)
    return value

  def text(self, selector: str) -> str:
    return self.window.evaluate(
      f'document.querySelector({selector!r}).innerText'
    )

  def choose(self, number: int, path: pathlib.Path) -> dict[str, Any]:
    """Chooses a file for a side; gives what is found in it."""
    state = f"document.querySelectorAll('.state')[{number}].textContent"
    self.window.evaluate(f"{state} = ''")
    root = self.window.call('DOM.getDocument')['root']['nodeId']
    inputs = self.window.call(
      'DOM.querySelectorAll', nodeId=root, selector='.slot input'
    )
    self.window.call(
      'DOM.setFileInputFiles',
      nodeId=inputs['nodeIds'][number],
      files=[str(path)],
    )
    self.wait_for(f"{state} && !{state}.startsWith('Looking')")
    return self.side(number)

  def side(self, number: int) -> dict[str, Any]:
    return self.window.evaluate(_SIDE % number)

  def sample(self, number: int) -> dict[str, Any]:
    """Presses a button of samples; gives the answer."""
    self.window.evaluate(
      f"""document.querySelector('#answer').hidden = true;
      document.querySelectorAll('#samples button')[{number}].click()"""
    )
    self.wait_for("!document.querySelector('#answer').hidden")
    return self.answer()

  def answer(self) -> dict[str, Any]:
    return self.window.evaluate(
      "import('./page.js').then(({answer}) => ({...answer}))"
    )


def sides_in_page(
  folder: str, paths: Sequence[pathlib.Path]
) -> list[dict[str, Any]]:
  """What a page finds in photographs; it prints what that takes.

  The machine's own ONNX Runtime takes turns with the browser's: other processes
  slow both.
  """
  content = (pathlib.Path(folder) / 'network.onnx').read_bytes()
  native, taken = onnx_runtime.make_runner(content), []
  sides = []
  with (
    tempfile.TemporaryDirectory() as profile,
    contextlib.closing(browser.Browser(pathlib.Path(profile))) as window,
    served(folder) as address,
  ):
    page = Page(window, address)
    print(page.open())
    for path in paths:
      side = page.choose(0, path)
      sides.append(side)
      if side['embeddings'] is not None:
        crop = np.uint8(side['crop']).reshape(side['shape'])
        start = time.perf_counter()
        native(np.stack([crop, crop[:, ::-1]]))
        seconds = time.perf_counter() - start
        taken.append((side['detecting'], side['embedding'], 1000 * seconds))
  detecting, embedding, natively = np.median(taken, axis=0)
  print(
    f'a photograph takes {detecting:.0f} ms to find the face, and '
    f'{embedding / 2:.0f} ms an embedding, in ONNX Runtime on one thread '
    f'{natively / 2:.0f} ms (medians)'
  )
  return sides


def sides_without_avx2(
  name: str, paths: Sequence[pathlib.Path]
) -> list[dict[str, Any]]:
  """What Python finds where OpenCV has no AVX2, like a page's sides."""
  os.environ['OPENCV_CPU_DISABLE'] = 'AVX2,FMA3'
  try:
    with concurrent.futures.ProcessPoolExecutor(
      1, multiprocessing.get_context('spawn')
    ) as pool:
      return pool.submit(_sides_in_python, name, paths).result()
  finally:
    del os.environ['OPENCV_CPU_DISABLE']


def _sides_in_python(name, paths):
  model, sides = faceqat.load(name), []
  for path in paths:
    faces = model.detect(path)
    side = {'state': 'no usable face', 'embeddings': None}
    if faces and not faces[0].why_not:
      crop = faces[0].crop
      side = {
        'landmarks': faces[0].landmarks,
        'crop': crop,
        'shape': crop.shape,
        'embeddings': model.embed([crop, crop[:, ::-1]]),
      }
    sides.append(side)
  return sides


class Compared(NamedTuple):
  """One photograph in the page and in Python.

  Attributes:
    landmarks: the largest difference of a coordinate, in pixels.
    crop: [H, W, 3] differences in steps of the pixels.
    differing: how many integers of the page's embeddings are not those of the
      evaluator for the page's crop.
    templates: int64 [2, D]: the page's, and Python's of its own crop.
  """

  landmarks: float
  crop: np.ndarray
  differing: int
  templates: np.ndarray


def compare(
  side: dict[str, Any], image: np.ndarray, model: faceqat.Model
) -> Compared:
  """Compares what the page found with what Python finds."""
  face = model.detect(image)[0]
  crop = np.uint8(side['crop']).reshape(side['shape'])
  theirs = np.array(side['embeddings'])
  return Compared(
    landmarks=np.abs(side['landmarks'] - face.landmarks).max(),
    crop=np.abs(np.int16(crop) - np.int16(face.crop)),
    differing=np.sum(theirs != model.embed([crop, crop[:, ::-1]])),
    templates=np.stack(
      [theirs.sum(axis=0), model.embed([face], mirrored=True)[0]]
    ).astype(np.int64),
  )


def report(found: Sequence[Compared], threshold: float):
  """Prints how far photographs are from Python."""
  landmarks = [one.landmarks for one in found]
  counts = [np.count_nonzero(one.crop) for one in found]
  largest = max(one.crop.max() for one in found)
  print(f'{len(found)} faces')
  print(
    f'landmarks, pixels: median {np.median(landmarks):.1g}, at most '
    f'{max(landmarks):.1g}'
  )
  print(
    f'values of a crop of {found[0].crop.size:,} that differ: median '
    f'{np.median(counts):.0f}, at most {max(counts):,}, by at most {largest}; '
    f'{counts.count(0)} crops are equal'
  )
  size = 2 * found[0].templates.shape[1]
  print(
    f'integers of the embeddings that differ, given the crop: '
    f'{sum(one.differing for one in found)} of {size * len(found):,}'
  )
  scores = np.array(
    [
      [template_score.score(*pair) for pair in zip(a.templates, b.templates)]
      for a, b in itertools.combinations(found, 2)
    ]
  )
  scores = scores / template_score.ONE
  apart = np.abs(scores[:, 0] - scores[:, 1])
  same = scores >= threshold
  print(
    f'scores of {len(scores):,} pairs: median difference '
    f'{np.median(apart):.2g}, at most {apart.max():.2g}; '
    f'{np.sum(same[:, 0] != same[:, 1])} decisions differ'
  )


def define_flags():
  flags.DEFINE_string('page', None, 'A folder that examples.browser made.')
  flags.DEFINE_string('model', 'sface_int8', 'What it was made of.')


def main(photographs_folder: str):
  args = flags.FLAGS
  paths = sorted(
    path
    for path in pathlib.Path(photographs_folder).rglob('*')
    if decoding.is_image(path)
  )
  sides = (
    sides_in_page(args.page, paths)
    if args.page
    else sides_without_avx2(args.model, paths)
  )
  model, found = faceqat.load(args.model), []
  for path, side in zip(paths, sides):
    if side['embeddings'] is None:
      print(f'{path}: {side["state"]}')
    else:
      image = photographs.read_photograph(path)
      found.append(compare(side, image, model))
  report(found, model.threshold)


if __name__ == '__main__':
  define_flags()
  command.run(main, ('PHOTOGRAPHS',))
