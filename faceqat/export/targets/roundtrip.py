"""Writes the files of several targets, and runs each where that can be."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from faceqat import progress
from faceqat.evaluators import exactness, verification
from faceqat.export import roundtrip
from faceqat.export.formats import make_run
from faceqat.export.targets import find
from faceqat.export.targets.target import Figures, Predict
from faceqat.files import atomic, folders
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor
from faceqat.models.network import Network
from faceqat.report.table import Table

_TITLES = (
  *('target', 'contract', 'bytes', 'outputs', 'differing', 'largest'),
  *('cosine', 'least', 'ms/image'),
)
_MISSING = '-'


@dataclasses.dataclass(frozen=True)
class Nearness:
  """How the embeddings of a file compare with those of its program.

  Attributes:
    outputs: how many numbers were compared.
    differing: in how many they differ; None of a file that gives real numbers.
    largest: the largest difference, in steps of the embedding.
    cosine, least_cosine: of the two embeddings of an image, the mean and the
      least over the images.
  """

  outputs: int
  differing: int | None
  largest: float
  cosine: float
  least_cosine: float


@dataclasses.dataclass(frozen=True)
class Result:
  """What became of a target.

  Attributes:
    contract: whose bits its file has to give; None: of none.
    files: bytes by name.
    not_run: why its file was not run, or not measured; '' if it was.
    nearness: None where it was not run.
    milliseconds: per image, one at a time; None where it was not run, or where
      the time tells nothing.
    figures: what its runtime or compiler says of the files.
  """

  contract: str | None
  files: Mapping[str, int]
  not_run: str
  nearness: Nearness | None = None
  milliseconds: float | None = None
  figures: Sequence[Figures] = ()

  @property
  def broken(self) -> bool:
    """Whether a contract was."""
    return bool(self.contract and self.nearness and self.nearness.differing)


def export(
  programs: Mapping[str, IntegerProgram],
  network: Network | None,
  outdir: pathlib.Path,
  images: np.ndarray,
) -> dict[str, Result]:
  """Writes the files of targets to `outdir/NAME`, and compares what they give.

  Where a file breaks its contract, the first layer that differs is printed, and
  written to `report_path` with a line for every layer.

  Args:
    programs: by the name of the target, under the contract to keep.
    network: that they were lowered from; None: not known.
    outdir: made if it does not exist.
    images: `[B, H, W, 3] uint8`.

  Returns:
    By target.

  Raises:
    ValueError: a target cannot hold the program; nothing is written then.
  """
  # All of them, before anything is written: one may refuse the program.
  contents = {
    name: _contents(name, program, network)
    for name, program in programs.items()
  }
  expected: dict[str, np.ndarray] = {}
  results = {}
  for name, program in programs.items():
    folder = folders.make(outdir / name)
    atomic.clear(folder)
    for file, content in contents[name].items():
      atomic.write(folder / file, content)
    if find(name).run and program.contract not in expected:
      expected[program.contract], _ = _embed_each(_evaluator(program), images)
    results[name] = dataclasses.replace(
      _run(name, program, folder, images, expected.get(program.contract)),
      files={file: len(content) for file, content in contents[name].items()},
    )
  return results


def report_path(outdir: pathlib.Path, name: str) -> pathlib.Path:
  """Where an export says how the file of a target differs."""
  return roundtrip.report_path(outdir / name, name)


def tables(results: Mapping[str, Result]) -> list[Table]:
  """One target a row, then a table for each that its runtime says more of."""
  rows, notes = [], []
  for name, result in results.items():
    cells = [result.contract or 'none', f'{sum(result.files.values()):,}']
    rows.append([name, *cells, *_cells(result)])
    if result.not_run:
      notes.append(f'{name}: not run: {result.not_run}')
  found = [Table(_TITLES, rows, notes)]
  for name, result in results.items():
    if result.figures:
      titles = list(result.figures[0])
      lines = [[_cell(row[x]) for x in titles] for row in result.figures]
      titles[0] = f'{name}: {titles[0]}'
      found.append(Table(titles, lines))
  return found


def results_json(results: Mapping[str, Result]) -> dict[str, dict[str, Any]]:
  """The same for `json.dump`, by target."""
  return {name: dataclasses.asdict(one) for name, one in results.items()}


def success(results: Mapping[str, Result], num_images: int) -> str:
  """What was promised and kept, in a sentence; no contract is broken."""
  ran = [name for name, result in results.items() if result.nearness]
  exact = [name for name in ran if results[name].contract]
  parts = []
  if exact:
    parts.append(
      f'{", ".join(exact)} {"give" if len(exact) > 1 else "gives"} the bits of '
      f'the evaluator on {num_images} images'
    )
  for name in ran:
    if name not in exact:
      steps = results[name].nearness.largest
      parts.append(
        f'{name} promises no bits, and is at most {steps:.3g} steps of the '
        'embedding away'
      )
  rest = [name for name in results if name not in ran]
  if rest:
    parts.append(f'written but not run: {", ".join(rest)}')
  return f'succeeded: {"; ".join(parts)}'


def _contents(name: str, program: IntegerProgram, network) -> dict[str, bytes]:
  try:
    return find(name).write(program, network)
  except ValueError as error:
    raise ValueError(f'--target={name}: {error}') from error


def _evaluator(program: IntegerProgram) -> Predict:
  run = make_run(program)
  return lambda images: run(images)[program.output]


def _run(name, program, folder, images, expected) -> Result:
  """Runs what was written for a target, as far as that can be here."""
  target = find(name)
  contract = program.contract if target.contracts else None
  result = Result(contract, {}, target.not_run)
  report = roundtrip.report_path(folder, name)
  report.unlink(missing_ok=True)
  try:
    if target.measure:
      result = dataclasses.replace(result, figures=target.measure(folder))
    if target.run is None:
      return result
    predict = target.run(program, folder)
  except ImportError as error:
    return dataclasses.replace(result, not_run=str(error))
  progress.note(f'{folder} runs on {len(images)} images')
  actual, seconds = _embed_each(predict, images)
  result = dataclasses.replace(
    result,
    nearness=_compare(program.tensors[program.output], expected, actual),
    milliseconds=1e3 * seconds / len(images) if target.timed else None,
  )
  if result.broken:
    differ = (expected != actual).any(1)
    run = target.run_taps(program)
    print(roundtrip.write_report(program, run, images[differ], report))
  return result


def _embed_each(
  predict: Predict, images: np.ndarray
) -> tuple[np.ndarray, float]:
  """Embeddings of all images, and the seconds they took, one at a time."""
  predict(images[:1])  # Compiles, or plans its memory.
  start = time.perf_counter()
  embeddings = [predict(images[i : i + 1]) for i in range(len(images))]
  return np.concatenate(embeddings), time.perf_counter() - start


def _compare(
  embedding: Tensor, expected: np.ndarray, actual: np.ndarray
) -> Nearness:
  """Compares embeddings [B, D]: int8, and int8 or real ones in float."""
  scale, zero_point = embedding.scale, embedding.zero_point
  wanted = expected.astype(np.float64) - zero_point
  if np.issubdtype(actual.dtype, np.integer):
    found = exactness.compare_integers(expected, actual)
    differing, largest = found.differing, float(found.largest)
    got = actual.astype(np.float64) - zero_point
  else:
    got = actual / scale
    differing, largest = None, float(np.abs(wanted - got).max())
  cosines = verification.cosine(wanted, got)
  return Nearness(
    outputs=expected.size,
    differing=differing,
    largest=largest,
    cosine=float(cosines.mean()),
    least_cosine=float(cosines.min()),
  )


def _cells(result: Result) -> list[str]:
  """Behind the bytes, in a row of the first table."""
  if result.nearness is None:
    return [_MISSING] * (len(_TITLES) - 3)
  near, time = result.nearness, result.milliseconds
  return [
    f'{near.outputs:,}',
    _MISSING if near.differing is None else f'{near.differing:,}',
    f'{near.largest:.3g}',
    f'{near.cosine:.4f}',
    f'{near.least_cosine:.4f}',
    _MISSING if time is None else f'{time:.2f}',
  ]


def _cell(value: str | int) -> str:
  return value if isinstance(value, str) else f'{value:,}'
