"""Writes the files of several targets, and runs each where that can be."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from faceqat import progress
from faceqat.data.benchmarks.pairs import PairSet
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
# Behind them, where pairs were given.
_OF_PAIRS = ('accuracy %', 'cost')
_NOTE_OF_PAIRS = (
  "accuracy: on {}; cost: by how many points it is less than the program's"
)
_MISSING = '-'
# Of the evaluator; files run on one image at a time, as some take no more.
_BATCH_SIZE = 64


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
    accuracy: of its embeddings, on the pairs that were given; else None.
    cost: how much less that is than its program's, a share of the pairs.
    pairs: how many they are, and of which set.
  """

  contract: str | None
  files: Mapping[str, int]
  not_run: str
  nearness: Nearness | None = None
  milliseconds: float | None = None
  figures: Sequence[Figures] = ()
  accuracy: float | None = None
  cost: float | None = None
  pairs: str = ''

  @property
  def broken(self) -> bool:
    """Whether a contract was."""
    return bool(self.contract and self.nearness and self.nearness.differing)


def export(
  programs: Mapping[str, IntegerProgram],
  network: Network | None,
  outdir: pathlib.Path,
  images: np.ndarray,
  pairs: PairSet | None = None,
) -> dict[str, Result]:
  """Writes the files of targets to `outdir/NAME`, and compares what they give.

  Where a file breaks its contract, the first layer that differs is printed, and
  written to `report_path` with a line for every layer.

  Args:
    programs: by the name of the target, under the contract to keep.
    network: that they were lowered from; None: not known.
    outdir: made if it does not exist.
    images: `[B, H, W, 3] uint8`.
    pairs: to measure on what each target costs; None: not measured.

  Returns:
    By target.

  Raises:
    ValueError: a target cannot hold the program, or the pairs give no
      accuracy; nothing is written then.
  """
  if pairs and not verification.has_folds(np.asarray(pairs.fold)):
    raise ValueError(
      f'the pairs of {pairs.name} are one fold, which has no accuracy; leave '
      '--accuracy out'
    )
  # All of them, before anything is written: one may refuse the program.
  contents = {n: _contents(n, p, network) for n, p in programs.items()}

  @functools.cache
  def expected(contract: str) -> np.ndarray:
    return _embed_each(_evaluator(programs_of[contract]), images)[0]

  @functools.cache
  def accuracy(contract: str) -> float:
    program = programs_of[contract]
    return _accuracy(program, _evaluator(program), pairs, _BATCH_SIZE)

  programs_of = {program.contract: program for program in programs.values()}
  results = {}
  for name, program in programs.items():
    folder = folders.make(outdir / name)
    atomic.clear(folder)
    for file in find(name).made:
      (folder / file).unlink(missing_ok=True)
    for file, content in contents[name].items():
      atomic.write(folder / file, content)
    result = _run(name, program, folder, images, expected)
    if pairs and result.nearness:
      result = _with_accuracy(result, name, program, folder, pairs, accuracy)
    results[name] = dataclasses.replace(
      result,
      files={file: len(content) for file, content in contents[name].items()},
    )
  return results


def report_path(outdir: pathlib.Path, name: str) -> pathlib.Path:
  """Where an export says how the file of a target differs."""
  return roundtrip.report_path(outdir / name, name)


def tables(results: Mapping[str, Result]) -> list[Table]:
  """One target a row, then a table for each that its runtime says more of."""
  rows, notes = [], []
  on_pairs = next((x.pairs for x in results.values() if x.pairs), '')
  for name, result in results.items():
    cells = [result.contract or 'none', f'{sum(result.files.values()):,}']
    cells += _cells(result)
    if on_pairs:
      cells += _cells_of_pairs(result)
    rows.append([name, *cells])
    if result.not_run:
      notes.append(f'{name}: not run: {result.not_run}')
  if on_pairs:
    notes.append(_NOTE_OF_PAIRS.format(on_pairs))
  found = [Table([*_TITLES, *(_OF_PAIRS if on_pairs else ())], rows, notes)]
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


def _with_accuracy(result, name, program, folder, pairs, accuracy) -> Result:
  """The result with what the target costs; the same bits cost nothing."""
  whole = found = accuracy(program.contract)
  if result.nearness.differing != 0:
    progress.note(f'{folder} runs on {len(pairs.same):,} pairs')
    run = find(name).run(program, folder)
    found = _accuracy(program, run, pairs, batch_size=1)
  of = f'{len(pairs.same):,} pairs ({pairs.name})'
  return dataclasses.replace(
    result, accuracy=found, cost=whole - found, pairs=of
  )


def _accuracy(
  program: IntegerProgram, run: Predict, pairs: PairSet, batch_size: int
) -> float:
  zero_point = program.tensors[program.output].zero_point

  def predict(images):
    embeddings = run(images)
    if np.issubdtype(embeddings.dtype, np.integer):
      return embeddings.astype(np.int16) - np.int16(zero_point)
    return embeddings

  found = verification.evaluate(predict, pairs, batch_size=batch_size)
  return dict(found)['accuracy']


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
  wanted = expected(program.contract)
  actual, seconds = _embed_each(predict, images)
  result = dataclasses.replace(
    result,
    nearness=_compare(program.tensors[program.output], wanted, actual),
    milliseconds=1e3 * seconds / len(images) if target.timed else None,
  )
  if result.broken:
    differ = (wanted != actual).any(1)
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


def _cells_of_pairs(result: Result) -> list[str]:
  if result.accuracy is None or result.cost is None:
    return [_MISSING] * len(_OF_PAIRS)
  return [f'{100 * result.accuracy:.2f}', f'{100 * result.cost:+.2f}']


def _cell(value: str | int) -> str:
  return value if isinstance(value, str) else f'{value:,}'
