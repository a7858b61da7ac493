"""Networks that were trained in PyTorch, as weights of a model.

The modules `*_torch` say how projects name a network's modules. Here a file is
read, its project recognised, and its tensors are converted.
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
    units: by the model's layers; the first one sees the pixels, and the last
      one is 'embedding'.
    projects: those whose network it may be.
  """

  units: dict[str, Unit]
  projects: Sequence[Project]

  def tensors(self) -> set[str]:
    """The names of all its tensors."""
    return set().union(*(unit.tensors() for unit in self.units.values()))


# From a state without its prefix, and the parts of that prefix.
Naming = Callable[[State, Collection[str]], Named]


class TorchNetwork(NamedTuple):
  """A network under all of its names.

  Attributes:
    name: for messages.
    namings: each behind the name of its first tensor.
    head: a module that is left out, such as a classifier.
  """

  name: str
  namings: Sequence[tuple[str, Naming]]
  head: str = ''


def read_torch(
  path: str | os.PathLike,
  network: TorchNetwork,
  given: Mapping[str, Any] | None = None,
) -> Imported:
  """Reads a weight file, for `assign.assign`.

  Args:
    path: of `torch.save`, safetensors or ONNX, recognised by its content.
    network: the network that it has to hold.
    given: see `convert_state`.

  Raises:
    ValueError: names the file: it is damaged, or `convert_state` refuses it; of
      an ONNX file, also the names that are not PyTorch's, and how to export it.
  """
  path = os.fspath(path)
  kind = weight_formats.format_of(path)
  replaced = []
  if kind == 'ONNX':
    # No other format needs the package onnx.
    from faceqat.models.weights import onnx_initializers

    arrays = onnx_initializers.read_initializers(path)
    state, replaced = onnx_initializers.split_parameters(arrays)
    state = without_wrappers(state)
  elif kind == 'safetensors':
    state = without_wrappers(safetensors_file.read_safetensors(path))
  else:
    state = torch_checkpoint.read(path)
  try:
    return convert_state(state, network, given)
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


def convert_state(
  state: State, network: TorchNetwork, given: Mapping[str, Any] | None = None
) -> Imported:
  """Renames a state dictionary's tensors and brings them into our layout.

  Args:
    state: arrays by PyTorch's names, of any depth and embedding size. Where
      the network's names have a prefix, tensors without it are left out.
    network: the network that it has to be.
    given: fields of `pixels.Pixels` that the user knows; the others are those
      of the project with such names.

  Returns:
    float32 arrays by path in the model's variables.

  Raises:
    ValueError: lists the tensors that are missing and those that have no place;
      or names one of a wrong shape; or lists several projects with such names,
      which saw different pixels.
  """
  candidates = []
  for first, naming in network.namings:
    for prefix in _prefixes(state, first):
      inner = _behind(prefix, state, network.head)
      candidates.append((inner, naming(inner, prefix.split('.'))))
  # The naming that explains most of the tensors.
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
  """The possible prefixes, such as 'model.', of the first tensor's name."""
  found = {name.removesuffix(first) for name in state if name.endswith(first)}
  return sorted(found | {''})


def _behind(prefix: str, state: State, head: str) -> dict[str, np.ndarray]:
  """The tensors with a prefix, without counts of batches and the head."""
  return {
    name.removeprefix(prefix): array
    for name, array in state.items()
    if name.startswith(prefix)
    and not name.endswith('.num_batches_tracked')
    and not (head and name.startswith(f'{prefix}{head}.'))
  }


def _check_names(state: State, named: Named):
  """Refuses other tensors; the last batch norm may have `affine=False`."""
  last = named.units['embedding'].norm
  optional = {f'{last}.weight', f'{last}.bias'}
  wanted = named.tensors()
  missing = wanted - state.keys() - optional
  more = state.keys() - wanted - optional
  if missing or more:
    raise ValueError(
      f'it lacks the tensors {listed(missing)}; it has besides {listed(more)}'
    )
