"""Reads the files of a run, as far as they are there."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from faceqat.evaluators import PRECISIONS, group_rates, rate_table
from faceqat.evaluators import scores as scores_file
from faceqat.evaluators.group_rates import GroupRates
from faceqat.evaluators.identification_rates import FILE_NAME as CURVES_FILE
from faceqat.evaluators.rate_table import MatchTable
from faceqat.evaluators.scores import Scores
from faceqat.files import json_fields
from faceqat.integer import operators as ops
from faceqat.integer import program as integer_program
from faceqat.models.complexity import count_parameters
from faceqat.report import hardest
from faceqat.report.hardest import Hardest
from faceqat.training import history
from faceqat.training.checkpoint import latest_config

# Convert writes it beside the files of an export.
EXACTNESS = 'exactness.json'


# Of a program: the config has them too, or they have a table of their own.
_NOT_SHOWN = ('model', 'step', 'image_size', integer_program.MATCH_RATES)


@dataclasses.dataclass(frozen=True)
class RunFolder:
  """A run's folder; None, or an empty dict, for what it does not have.

  Attributes:
    path: as the user gave it.
    label: short, and unlike those of other runs on a page.
    results: of results.json, by precision.
    benchmarks: those of further sets of pairs or templates, by name.
    rates: of rates.json, by precision.
    groups: of groups.json.
    scores: of scores.safetensors.
    curves: of metrics.jsonl, by name: steps [T] and values [T].
    config: of the latest checkpoint, and `step`, its step.
    agreement: of agreement.json.
    hardest: of hardest.safetensors.
    identification_curves: of identification.safetensors, by name.
    export: the folder that convert wrote, and `exactness`, its comparison of
      each format.
    parameters: the number of weights of the float network.
    program: facts of the integer program, by name, in words.
  """

  path: pathlib.Path
  label: str
  results: Mapping[str, Mapping[str, float]]
  benchmarks: Mapping[str, Mapping[str, Mapping[str, float]]]
  rates: Mapping[str, MatchTable]
  groups: Sequence[GroupRates]
  scores: Scores | None
  curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
  config: ml_collections.ConfigDict | None
  step: int | None
  agreement: Mapping[str, Any] | None
  hardest: Hardest | None
  identification_curves: Mapping[str, np.ndarray]
  export: pathlib.Path | None
  exactness: Mapping[str, Mapping[str, Any]]
  parameters: int | None
  program: Mapping[str, str]

  @property
  def precisions(self) -> list[str]:
    """Those with scores, float first, what ships last."""
    found = self.scores.cosines if self.scores else {}
    return [name for name in PRECISIONS if name in found]

  @property
  def quantization_start(self) -> int | None:
    """The step from which a training was quantized; None: it was not."""
    quant = (self.config or {}).get('quant')
    if not quant or not quant.get('enabled'):
      return None
    return quant.get('start_step')


def read_run(path: str, label: str, export: str | None = None) -> RunFolder:
  """Reads a folder that `faceqat.main` or `faceqat.evaluate` wrote.

  Args:
    path: the folder.
    label: short name for it.
    export: a folder that `faceqat.convert` wrote; None: the run's folder, or
      one in it, where there is one.

  Raises:
    ValueError: there is no such folder, nothing of a run in it, or a damaged
      file.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    raise ValueError(
      f'{path} is no folder; give the folder of a training run, or one that '
      'faceqat.evaluate wrote'
    )
  config, step = latest_config(folder) or (None, None)
  export_folder = _find_export(folder, export)
  has_scores = (folder / scores_file.FILE_NAME).is_file()
  run = RunFolder(
    path=folder,
    label=label,
    results=_read_results(folder / 'results.json'),
    benchmarks={
      path.parent.name: _read_results(path)
      for path in sorted(folder.glob('benchmarks/*/results.json'))
    },
    rates=rate_table.load_measured(folder),
    groups=group_rates.load(folder),
    scores=scores_file.load(folder) if has_scores else None,
    curves=history.read_curves(folder),
    config=config,
    step=step,
    agreement=scores_file.read_json(
      folder / 'agreement.json', json_fields.check_agreement
    ),
    hardest=hardest.load(folder),
    identification_curves=_read_arrays(folder / CURVES_FILE),
    export=export_folder,
    exactness=_read_exactness(export_folder),
    parameters=_count_parameters(folder / 'float.safetensors'),
    program=_describe_program(folder / 'program.safetensors'),
  )
  if not (run.results or run.scores or run.curves or run.config):
    raise ValueError(
      f'{path} has nothing of a run: no results.json, scores.safetensors, '
      'metrics.jsonl or checkpoints; give the folder of a training run'
    )
  return run


def _find_export(folder: pathlib.Path, export: str | None):
  if export is not None:
    found = pathlib.Path(export)
    if not (found / EXACTNESS).is_file():
      raise ValueError(
        f'--export={export} has no {EXACTNESS}; give a folder that was written '
        f'by python -m faceqat.convert --model={folder} --out={export}'
      )
    return found
  found = [folder / EXACTNESS, *sorted(folder.glob(f'*/{EXACTNESS}'))]
  return next((path.parent for path in found if path.is_file()), None)


def _read_exactness(folder: pathlib.Path | None):
  if folder is None:
    return {}
  return (
    scores_file.read_json(folder / EXACTNESS, json_fields.check_exactness) or {}
  )


def _read_results(path: pathlib.Path) -> dict[str, dict[str, float]]:
  """By precision and name; NaN where a figure was not finite."""
  return scores_file.read_json(path, json_fields.results) or {}


def _read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  return scores_file.read_arrays(path)[0] if path.is_file() else {}


def _count_parameters(path: pathlib.Path) -> int | None:
  params = {}
  for name, array in _read_arrays(path).items():
    # By layer: a damaged file may have one below a number.
    layer, _, last = name.rpartition('/')
    if name.startswith('params/'):
      params.setdefault(layer, {})[last] = array
  return count_parameters({'params': params}) if params else None


def _describe_program(path: pathlib.Path) -> dict[str, str]:
  if not path.is_file():
    return {}
  program = integer_program.load(path)
  layers = [x for x in program.operators if isinstance(x, ops.Weighted)]
  shape = program.tensors[program.input].shape
  # Every weight is used once for each position of the output.
  multiply_adds = sum(
    layer.weights.size * math.prod(program.tensors[layer.output].shape[:-1])
    for layer in layers
  )
  return {
    # The file's own facts.
    **{
      name.replace('_', ' '): value
      for name, value in program.metadata.items()
      if name not in _NOT_SHOWN
    },
    'input shape': ' x '.join(map(str, shape)),
    'embedding': f'{program.tensors[program.output].shape[-1]} integers',
    'multiply-adds an image': f'{multiply_adds:,}',
    'bits of weights': _counted(layer.weight_bits for layer in layers),
    'bits of activations': _counted(
      program.tensors[x.output].bits for x in program.operators
    ),
    'rounding contract': program.contract,
  }


def _counted(bits) -> str:
  """8 where all are, else how many layers have which."""
  values, counts = np.unique(list(bits), return_counts=True)
  if len(values) == 1:
    return str(values[0])
  return ', '.join(f'{v} in {c} layers' for v, c in zip(values, counts))
