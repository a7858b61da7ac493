"""From images to embeddings, by each of the three arithmetics."""

import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from faceqat.compilation import jit_integers
from faceqat.evaluators.verification import Predict
from faceqat.integer import matching
from faceqat.integer import program as integer_program
from faceqat.integer.evaluator import make_evaluator
from faceqat.models.network import Network
from faceqat.quant.spec import Mode


@functools.partial(jax.jit, static_argnames=('model', 'mode'))
def embed(
  variables: dict[str, Any],
  images: jax.Array,
  *,
  model: nn.Module,
  mode: Mode,
) -> jax.Array:
  """Embeds `[B, H, W, 3] uint8` as `[B, D] float32`, not normalised."""
  return model.apply(variables, images, mode)


def make_predict(
  model: nn.Module, variables: dict[str, Any], mode: Mode
) -> Callable[[np.ndarray], np.ndarray]:
  """Makes the function from images to embeddings that evaluators take."""
  return functools.partial(embed, variables, model=model, mode=mode)


def make_integer_predict(program: integer_program.IntegerProgram) -> Predict:
  """From uint8 images to int8 embeddings less their zero point, in int16.

  These are templates of `matching`, and so is the sum of two. The embedding's
  scale plays no part in a cosine.
  """
  zero_point = program.tensors[program.output].zero_point
  run = make_evaluator(program)
  return jit_integers(
    lambda images: matching.template(run(images), zero_point=zero_point)
  )


def parameters_digest(network: Network, precision: str, mode: Mode) -> str:
  """64 hex digits of what a network computes in float arithmetic."""
  settings = {
    name: network.config[name].to_dict() for name in ('model', 'quant')
  }
  digest = hashlib.sha256(f'{precision} {mode}'.encode())
  digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
  for path, leaf in jax.tree_util.tree_leaves_with_path(network.variables):
    leaf = np.asarray(leaf)
    name = jax.tree_util.keystr(path)
    digest.update(f'{name} {leaf.dtype} {leaf.shape}'.encode())
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()
