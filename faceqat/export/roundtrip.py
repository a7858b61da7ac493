"""Writes a program in several formats, and runs every file that was written."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping

import numpy as np

from faceqat import progress
from faceqat.evaluators import exactness
from faceqat.export import byte_counts
from faceqat.export.formats import FORMATS, Run, make_run
from faceqat.files import atomic, folders
from faceqat.integer.program import IntegerProgram
from faceqat.report.results_tables import formats_table
from faceqat.report.table import Table

# Enough to show how widespread a difference is; every tensor of each is kept.
_EXPLAINED_IMAGES = 8


@dataclasses.dataclass(frozen=True)
class Result:
  """How a file did in its runtime.

  Attributes:
    contract: to which it is held; None where it is held to none.
    bytes: of the file.
    parts: its bytes by what they hold.
    comparison: of its embeddings with the evaluator's.
    milliseconds: per image, one image at a time.
  """

  contract: str | None
  bytes: int
  parts: Mapping[str, int]
  comparison: exactness.Comparison
  milliseconds: float

  @property
  def broken(self) -> bool:
    return self.contract is not None and self.comparison.differing > 0


def export(
  program: IntegerProgram,
  outdir: pathlib.Path,
  formats: list[str],
  images: np.ndarray,
) -> dict[str, Result]:
  """Writes a program, and compares what each file gives with the evaluator.

  Where a file differs, the first layer that does is printed, and written to
  `report_path` with a line for every layer.

  Args:
    program: under the contract to keep.
    outdir: a folder; made if it does not exist.
    formats: names of `FORMATS`.
    images: `[B, H, W, 3] uint8`.

  Returns:
    By format.

  Raises:
    ValueError: a format cannot hold the program; nothing is written then.
  """
  # All of them, before anything is written: one may refuse the program.
  contents = {name: FORMATS[name].to_bytes(program) for name in formats}
  folders.make(outdir)
  atomic.clear(outdir)
  expected, _ = _run_each(make_run(program), images)
  results = {}
  for name, content in contents.items():
    form = FORMATS[name]
    path = outdir / form.file
    atomic.write(path, content)
    progress.note(f'{path} runs on {len(images)} images')
    actual, seconds = _run_each(form.read(program, path, False), images)
    wanted, got = expected[program.output], actual[program.output]
    comparison = exactness.compare_integers(wanted, got)
    results[name] = Result(
      contract=program.contract if form.contracts else None,
      bytes=len(content),
      parts=byte_counts.by_part(content, form.constants(content)),
      comparison=comparison,
      milliseconds=1e3 * seconds / len(images),
    )
    report = report_path(outdir, name)
    report.unlink(missing_ok=True)
    if comparison.differing:
      differ = (wanted != got).reshape(len(images), -1).any(1)
      run = form.read(program, path, True)
      first = write_report(program, run, images[differ], report)
      if results[name].broken:
        print(first)
  return results


def success(results: Mapping[str, Result], num_images: int) -> str:
  """What was promised and kept, in a sentence; no contract is broken.

  Args:
    results: of `export`.
    num_images: that were compared.
  """
  exact = [name for name, result in results.items() if result.contract]
  loose = [name for name in results if name not in exact]
  parts = []
  if exact:
    files = ', '.join(FORMATS[name].file for name in exact)
    parts.append(
      f'{files} {"give" if len(exact) > 1 else "gives"} the bits of the '
      f'evaluator on {num_images} images'
    )
  for name in loose:
    steps = results[name].comparison.largest
    parts.append(
      f'{FORMATS[name].file} promises no bits, and is at most {steps} steps '
      'of the embedding away'
    )
  return f'succeeded: {"; ".join(parts)}'


def report_path(outdir: pathlib.Path, name: str) -> pathlib.Path:
  """Where an export says how the file of a format differs."""
  return outdir / f'difference_{name}.txt'


def results_table(results: Mapping[str, Result]) -> Table:
  """One format a row."""
  return formats_table(results_json(results))


def parts_table(results: Mapping[str, Result]) -> Table:
  """The bytes of each file by what they hold."""
  return byte_counts.parts_table({n: x.parts for n, x in results.items()})


def results_json(results: Mapping[str, Result]) -> dict[str, dict]:
  """The same for `json.dump`, by format; no contract is None."""
  return {
    name: {
      'contract': result.contract,
      'bytes': result.bytes,
      'parts': dict(result.parts),
      'outputs': result.comparison.outputs,
      'differing': result.comparison.differing,
      'largest': result.comparison.largest,
      'milliseconds': result.milliseconds,
    }
    for name, result in results.items()
  }


def write_report(
  program: IntegerProgram, run: Run, images: np.ndarray, report: pathlib.Path
) -> str:
  """Writes where a file and the evaluator part, layer by layer.

  Args:
    program: of both.
    run: the file, with every tensor.
    images: whose results differ; the first few are looked at.
    report: to write.

  Returns:
    A line that names the first layer that differs, and the report.
  """
  text = _explain(program, run, images[:_EXPLAINED_IMAGES])
  atomic.write(report, f'{text}\n'.encode())
  return f'{text.splitlines()[0].removesuffix(", from")}: see {report}'


def _run_each(run: Run, images: np.ndarray) -> tuple[dict, float]:
  """Results of all images, and the seconds they took, one at a time."""
  run(images[:1])  # Compiles, or plans its memory.
  start = time.perf_counter()
  results = [run(images[i : i + 1]) for i in range(len(images))]
  seconds = time.perf_counter() - start
  names = results[0]
  return {
    name: np.concatenate([result[name] for result in results]) for name in names
  }, seconds


def _explain(program: IntegerProgram, run: Run, images: np.ndarray) -> str:
  """Where a file and the evaluator part, on images whose results differ."""
  expected, _ = _run_each(make_run(program, taps=True), images)
  actual, _ = _run_each(run, images)
  # To show every tensor a file is written anew, and may be optimised less.
  difference = exactness.first_difference(program, expected, actual) or (
    'no layer differs where the file shows all of them: the runtime computes '
    'otherwise what it may join'
  )
  compared = exactness.compare_layers(program, expected, actual)
  layers = Table(
    ['layer', 'differing', 'steps'],
    [
      [name, f'{one.differing / one.outputs:.4%}', f'{one.largest}']
      for name, one in compared.items()
    ],
  )
  return f'{difference}\n\n{layers}'
