"""What calibration measured on images, as a small file of numbers.

A network's weights and this file make the same integer program on every
machine, with no image at hand. It is a safetensors file:

* `ranges/<layer>` float32 [2]: what the layer's output spans;
* `biases/<layer>` float32 [C]: the bias of its batch norm, corrected;
* `factors/<layer>` float32 [C]: what its output channels were multiplied by,
  and the inputs of the layer that reads them divided by (`equalization`);

and in its header, as JSON, which layer reads which, the blocks `model`, `quant`
and `fingerprint` of the network's config, the name of its weights, and how the
numbers were measured.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import numpy as np
import safetensors.numpy

from faceqat.calibration.equalization import Chain, scaled
from faceqat.files import array_file, atomic, strict_json

_KEY = 'faceqat_measured'
_ARRAYS = ('ranges', 'biases', 'factors')


class Measured(NamedTuple):
  """The numbers of one network.

  Attributes:
    ranges: [2] float32 by layer: the least and the greatest output.
    biases: [C] float32 by layer, of its batch norm.
    factors: [C] float32 by the first layer of a chain.
    chains: the pairs of layers that `factors` belong to.
    header: what else the file says.
  """

  ranges: dict[str, np.ndarray]
  biases: dict[str, np.ndarray]
  factors: dict[str, np.ndarray]
  chains: tuple[Chain, ...]
  header: dict[str, Any]


def between(
  before: Mapping[str, Any],
  after: Mapping[str, Any],
  chains: Sequence[Chain],
  header: Mapping[str, Any],
) -> Measured:
  """The numbers that lead from a float network to its calibrated form.

  Args:
    before: variables, as the weights are.
    after: variables, as `calibrate` returns them.
    chains: that may have been equalised.
    header: JSON; what else there is to say.
  """
  first, second = _flat(before['params']), _flat(after['params'])
  factors = {}
  for chain in chains:
    scale = f'{chain.first}/bn/scale'
    old = np.float64(first[scale])
    same = old == 0
    new = np.where(same, 1, np.float64(second[scale]))
    factors[chain.first] = np.float32(new / np.where(same, 1, old))
  ranges = {}
  for path, leaf in _flat(after['quant_stats']).items():
    ranges[path] = np.float32([leaf.minimum, leaf.maximum])
  biases = {
    path.removesuffix('/bn/bias'): np.float32(leaf)
    for path, leaf in second.items()
    if path.endswith('/bn/bias')
  }
  return Measured(ranges, biases, factors, tuple(chains), dict(header))


def apply(variables: Mapping[str, Any], measured: Measured) -> dict[str, Any]:
  """The calibrated form of a float network.

  Args:
    variables: of the network, with the weights that were measured.
    measured: of that network.

  Raises:
    ValueError: it is of another network; names the layer.
  """
  params = _flat(variables['params'])
  ranges = _flat(variables['quant_stats'])
  _same_names('ranges', ranges, measured.ranges)
  norms = [path for path in params if path.endswith('/bn/bias')]
  biases = {f'{layer}/bn/bias': v for layer, v in measured.biases.items()}
  _same_names('biases', norms, biases)
  for chain in measured.chains:
    _equalize(params, chain, np.float64(measured.factors[chain.first]))
  for path, bias in biases.items():
    if np.shape(params[path]) != bias.shape:
      raise ValueError(
        f'{path} has the shape {list(np.shape(params[path]))}, and '
        f'{list(bias.shape)} was measured'
      )
    params[path] = bias
  observed = {
    path: leaf._replace(
      minimum=measured.ranges[path][0],
      maximum=measured.ranges[path][1],
      count=np.int32(1),
    )
    for path, leaf in ranges.items()
  }
  return {
    **variables,
    'params': flax.traverse_util.unflatten_dict(params, sep='/'),
    'quant_stats': flax.traverse_util.unflatten_dict(observed, sep='/'),
  }


def _equalize(params: dict[str, Any], chain: Chain, factors: np.ndarray):
  """Scales the channels [C] between two layers, in place."""
  scale, kernel = f'{chain.first}/bn/scale', f'{chain.second}/kernel'
  for name in (scale, kernel):
    if name not in params:
      raise ValueError(f'the network has no {name}, which was measured')
  for path, value in scaled(chain, factors, params).items():
    params[path] = np.float32(value)


def save(measured: Measured, path: str | os.PathLike):
  """Writes the numbers to a file."""
  arrays = {
    f'{kind}/{name}': np.ascontiguousarray(array)
    for kind in _ARRAYS
    for name, array in getattr(measured, kind).items()
  }
  header = {
    **measured.header,
    'chains': [chain._asdict() for chain in measured.chains],
  }
  metadata = {_KEY: json.dumps(header)}
  atomic.write(path, safetensors.numpy.save(arrays, metadata=metadata))


def load(path: str | os.PathLike) -> Measured:
  """Reads what `save` wrote.

  Raises:
    ValueError: names the file, which is damaged or something else.
  """
  try:
    arrays, metadata = array_file.read_arrays(path)
    header = strict_json.parse(metadata.get(_KEY, 'null'), dict)
    chains = tuple(
      Chain(**{**chain, 'tensors': tuple(chain['tensors'])})
      for chain in header.pop('chains')
    )
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f'{os.fspath(path)} does not hold what a calibration measured ({error}): '
      'get it again'
    ) from error
  kinds = {kind: {} for kind in _ARRAYS}
  for name, array in arrays.items():
    kind, _, layer = name.partition('/')
    kinds.setdefault(kind, {})[layer] = array
  return Measured(**kinds, chains=chains, header=header)


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
  return flax.traverse_util.flatten_dict(tree, sep='/')


def _same_names(what: str, of_network: Iterable[str], found: Iterable[str]):
  missing, more = set(of_network) - set(found), set(found) - set(of_network)
  if missing or more:
    raise ValueError(
      f'the {what} are of another network: they lack {sorted(missing)}, and '
      f'have besides {sorted(more)}'
    )
