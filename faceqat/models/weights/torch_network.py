"""Networks that were trained in PyTorch, as weights of a model.

A module of this package says how the projects name a network's modules; here
the file is read, the project recognised and the tensors converted.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from faceqat.models.weights import (
  pixels,
  safetensors_file,
  torch_checkpoint,
  weight_formats,
)
from faceqat.models.weights.assign import listed
from faceqat.models.weights.pixels import (
  Imported,
  Project,
  SeveralProjectsError,
)
from faceqat.models.weights.torch_layers import State, Unit, convert_unit
from faceqat.models.weights.torch_state import without_wrappers


class Named(NamedTuple):
  """A network as a project names it.

  Attributes:
    units: by the model's layers; the first one sees the pixels, 'embedding' is
      the last.
    projects: whose network it may be.
  """

  units: dict[str, Unit]
  projects: Sequence[Project]

  def tensors(self) -> set[str]:
    """The names of all its tensors."""
    return set().union(*(unit.tensors() for unit in self.units.values()))


# From a state without prefix, and the parts of that prefix.
Naming = Callable[[State, Collection[str]], Named]


class TorchNetwork(NamedTuple):
  """A network, whoever named its modules.

  Attributes:
    name: for messages.
    namings: each with the name of the first tensor.
    head: a module that is left out, such as a classifier.
  """

  name: str
  namings: Sequence[tuple[str, Naming]]
  head: str = ''


def read(
  path: str | os.PathLike,
  network: TorchNetwork,
  given: Mapping[str, Any] | None = None,
) -> Imported:
  """Reads a weight file, for `assign.assign`.

  Args:
    path: PyTorch's, see `torch_checkpoint.read`; safetensors; or ONNX, see
      `onnx_initializers.read`. What it holds decides, not its name.
    network: what it has to hold.
    given: see `convert`.

  Raises:
    ValueError: names the file: it is damaged, or `convert` refuses it; of an
      ONNX file, which names are not PyTorch's, and how to export them.
  """
  path = os.fspath(path)
  kind = weight_formats.format_of(path)
  replaced = []
  if kind == 'ONNX':
    # No other format needs the package onnx.
    from faceqat.models.weights import onnx_initializers

    arrays = onnx_initializers.read(path)
    state, replaced = onnx_initializers.split_parameters(arrays)
    state = without_wrappers(state)
  elif kind == 'safetensors':
    state = without_wrappers(safetensors_file.read(path))
  else:
    state = torch_checkpoint.read(path)
  try:
    return convert(state, network, given)
  except SeveralProjectsError as error:
    raise ValueError(f'{path}: {error}') from None
  except ValueError as error:
    message = f'{path} is not of the {network.name} that this model is: {error}'
  if replaced:
    message += f'. Names were replaced, by {listed(replaced)}'
  if kind == 'ONNX':
    message += (
      '. If the export folded batch norms or replaced names, export again with '
      'torch.onnx.export(model, images, path, dynamo=False, '
      'do_constant_folding=False), or give the .pth'
    )
  raise ValueError(message)


def convert(
  state: State, network: TorchNetwork, given: Mapping[str, Any] | None = None
) -> Imported:
  """Renames a state dictionary's tensors and brings them into our layout.

  Args:
    state: arrays by PyTorch's names, of any depth and embedding size. Where
      all names of the network stand behind one prefix, tensors without it are
      left out.
    network: what it has to be.
    given: fields of `pixels.Pixels` that are known of the network; the others
      are those of the project that has such names.

  Returns:
    float32 arrays by path in the model's variables.

  Raises:
    ValueError: lists the tensors that are missing and those that the network
      has no place for; or names one of a wrong shape; or lists the projects
      with such names, which saw different pixels.
  """
  candidates = []
  for first, naming in network.namings:
    for prefix in _prefixes(state, first):
      inner = _behind(prefix, state, network.head)
      candidates.append((inner, naming(inner, prefix.split('.'))))
  # Whatever explains most of the tensors.
  state, named = max(
    candidates, key=lambda found: len(found[0].keys() & found[1].tensors())
  )
  _check_names(state, named)
  project = pixels.choose(named.projects, given)
  values = {}
  for index, (layer, unit) in enumerate(named.units.items()):
    # Layer by layer: an IR-50 in float64 is 350 MB.
    for name, array in convert_unit(unit, state, project, index == 0).items():
      values[f'{layer}/{name}'] = np.float32(array)
    if unit.prelu:
      values[f'{layer}_prelu/alpha'] = np.float32(state[f'{unit.prelu}.weight'])
  return Imported(values, project)


def _prefixes(state: State, first: str) -> list[str]:
  """What stands before the name of the first tensor, such as 'model.'."""
  found = {name.removesuffix(first) for name in state if name.endswith(first)}
  return sorted(found | {''})


def _behind(prefix: str, state: State, head: str) -> dict[str, np.ndarray]:
  """The tensors behind a prefix; but no counts of batches, and no head."""
  found = {
    name.removeprefix(prefix): array
    for name, array in state.items()
    if name.startswith(prefix) and not name.endswith('.num_batches_tracked')
  }
  return {
    name: array
    for name, array in found.items()
    if not head or not name.startswith(f'{head}.')
  }


def _check_names(state: State, named: Named):
  """The last batch norm may have no gamma and beta (`affine=False`)."""
  last = named.units['embedding'].norm
  optional = {f'{last}.weight', f'{last}.bias'}
  wanted = named.tensors()
  missing = wanted - state.keys() - optional
  more = state.keys() - wanted - optional
  if missing or more:
    raise ValueError(
      f'it lacks the tensors {listed(missing)}; it has besides {listed(more)}'
    )
