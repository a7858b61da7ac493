"""Lowering: from a trained network to its integer program."""

import dataclasses
from collections.abc import Iterable

import jax
import numpy as np

from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files.image_size import height_width
from faceqat.integer import operators as ops
from faceqat.integer import tracing
from faceqat.integer.program import IntegerProgram
from faceqat.models.network import Network
from faceqat.quant.spec import FAKE_QUANT


def lower(
  network: Network,
  *,
  contract: str = 'tflite_ref',
  weight_bits: int | None = None,
  normalize: bool = False,
) -> IntegerProgram:
  """Records the integer program of a network.

  Args:
    network: from a checkpoint.
    contract: whose rounding the program follows, one of `program.CONTRACTS`.
    weight_bits: rounds the weights of dense layers and convolutions, but for
      depthwise ones, anew to so many bits; None leaves the network's own.
    normalize: end with the L2-normalised embedding, at scale 1/128.

  Raises:
    ValueError: a range is missing, a norm has no integer form, or an
      accumulator could overflow.
    TypeError: the model uses an operation that has no integer form.
  """
  program, _ = _record(network, normalize)
  if weight_bits is not None:
    rounded = [
      operator.name
      for operator in weighted_operators(program)
      if not (isinstance(operator, ops.Conv2D) and operator.depthwise)
    ]
    network = with_weight_bits(network, weight_bits, rounded)
    program, _ = _record(network, normalize)
  return dataclasses.replace(program, contract=contract)


def with_weight_bits(
  network: Network, bits: int, names: Iterable[str]
) -> Network:
  """The network with other bits for the weights of the layers named."""
  quant = network.model.quant.with_weight_bits(bits, names)
  return network._replace(model=network.model.clone(quant=quant))


def weighted_operators(program: IntegerProgram) -> list[ops.Weighted]:
  """The operators with weights, in the order they run."""
  return [x for x in program.operators if isinstance(x, ops.Weighted)]


def real_weights(network: Network) -> tracing.Reals:
  """What each operator of a network is in float, its norms folded.

  Raises as `lower` does.
  """
  _, reals = _record(network, normalize=False)
  return reals


def _record(
  network: Network, normalize: bool
) -> tuple[IntegerProgram, tracing.Reals]:
  # On the host: JAX would compile a program for the shapes of each layer.
  variables = jax.tree.map(np.asarray, network.variables)

  def embed(image):
    # Layers refuse what is not finite, and say their name.
    with np.errstate(all='ignore'):
      embedding = network.model.apply(variables, image, FAKE_QUANT)
    if normalize:
      return tracing.apply(ops.L2Normalize, embedding, name='normalized')
    return embedding

  size = network.config.data.image_size
  faces = fingerprint.of_run(network.config)
  # Older runs do not say for which faces they are.
  faces = faces or Fingerprint(fingerprint.UNKNOWN, size)
  return tracing.trace_with_reals(
    embed,
    image_shape=(*height_width(size), 3),
    metadata={
      'model': network.config.model.name,
      'step': str(network.step),
      **fingerprint.to_metadata(faces),
      'input': 'uint8 pixels; pixel - 128 is the int8 value at scale 1/128',
    },
  )
