"""How far float, fake-quantized and integer activations differ, by layer."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from faceqat.compilation import jit_once
from faceqat.evaluators.verification import cosine
from faceqat.integer.evaluator import make_evaluator
from faceqat.integer.program import IntegerProgram
from faceqat.integer.tensors import Tensor
from faceqat.quant.spec import CONTRACT_MODES, FLOAT, Mode

# The most that 8 bits carry: a full-range sine has 6.02 * 8 + 1.76 dB. What
# comes in with less noise, such as the image, counts as having this ratio.
_MOST_DECIBELS = 50.0


@dataclasses.dataclass(frozen=True)
class LayerAgreement:
  """How far the three precisions of one layer's output are apart.

  Attributes:
    name: of the layer.
    scale: real value of one integer step.
    bits: of the integers.
    range: the real values of the lowest and the highest integer.
    float_range: least and greatest float output.
    clipped: share of the float outputs outside of `range` by half a step.
    float_to_fake: signal-to-quantization-noise ratio in dB, the float output
      against the fake-quantized one.
    float_to_integer: the same against the integer one.
    lost: by how many dB that is less than at the worst of the layer's inputs.
    fake_to_integer_steps: largest difference between the last two, in steps.
    fake_to_integer_differing: share of the outputs in which they differ.
  """

  name: str
  scale: float
  bits: int
  range: tuple[float, float]
  float_range: tuple[float, float]
  clipped: float
  float_to_fake: float
  float_to_integer: float
  lost: float
  fake_to_integer_steps: int
  fake_to_integer_differing: float


@dataclasses.dataclass(frozen=True)
class Agreement:
  """The layers in the order they run, and the embedding's cosines.

  Attributes:
    layers: those that quantize anew or choose among values.
    cosines: [B] float64, float embedding against integer embedding.
  """

  layers: tuple[LayerAgreement, ...]
  cosines: np.ndarray

  @property
  def worst(self) -> LayerAgreement:
    """The layer that loses most; the noise of its inputs is not its own."""
    return max(self.layers, key=lambda layer: layer.lost)

  def to_json(self) -> dict[str, Any]:
    """All but the single cosines, in the types of JSON.

    Returns:
      `images`, their number; `cosine_mean` and `cosine_p1`, mean and first
      percentile of the cosines; `worst`, the name of a layer; `layers`, for
      each the fields of `LayerAgreement`, with None for an infinite ratio.
    """
    return {
      'images': len(self.cosines),
      'cosine_mean': float(np.mean(self.cosines)),
      'cosine_p1': float(np.percentile(self.cosines, 1)),
      'worst': self.worst.name,
      'layers': [
        {
          name: None if value in (math.inf, -math.inf) else value
          for name, value in dataclasses.asdict(layer).items()
        }
        for layer in self.layers
      ],
    }

  def summary(self) -> str:
    """The embedding's cosines and the worst layer, in a line."""
    return (
      f'float against integer on {len(self.cosines)} images: embedding cosine '
      f'mean {np.mean(self.cosines):.4f}, 1st percentile '
      f'{np.percentile(self.cosines, 1):.4f}; worst layer {self.worst.name} '
      f'(loses {self.worst.lost:.1f} dB)'
    )


def compare_precisions(
  model: nn.Module,
  variables: dict[str, Any],
  program: IntegerProgram,
  images: np.ndarray,
) -> Agreement:
  """Runs the three precisions on the same images and compares every layer.

  Args:
    model: the network, and `variables`, what it is called with.
    program: lowered from them.
    images: `[B, H, W, 3] uint8`.

  Raises:
    ValueError: the program ends with a layer that the model does not have.
  """
  floats = activations(model, variables, images, FLOAT)
  mode = CONTRACT_MODES[program.contract]
  fakes = activations(model, variables, images, mode)
  integers = jit_once(make_evaluator(program, taps=True))(images)
  layers = []
  ratios = {program.input: _MOST_DECIBELS}
  for operator in program.operators:
    tensor = program.tensors[operator.output]
    source = min(ratios[name] for name in operator.inputs)
    ratios[tensor.name] = source
    # A flattened or requantized tensor is no layer's own output.
    if tensor.name not in floats:
      continue
    layer = _compare_layer(
      tensor,
      floats[tensor.name],
      fakes[tensor.name],
      np.asarray(integers[tensor.name], np.float32),
      source,
    )
    ratios[tensor.name] = min(layer.float_to_integer, _MOST_DECIBELS)
    layers.append(layer)
  if program.output not in floats:
    raise ValueError(
      f'the model has no layer {program.output}, which the program ends with; '
      'convert this checkpoint anew'
    )
  output = program.tensors[program.output]
  embedded = np.asarray(integers[program.output], np.float64)
  cosines = cosine(floats[program.output], embedded - output.zero_point)
  return Agreement(tuple(layers), cosines)


def _compare_layer(
  tensor: Tensor,
  reference: np.ndarray,
  fake: np.ndarray,
  steps: np.ndarray,
  source: float,
) -> LayerAgreement:
  """Compares a layer's three outputs; `source` is the worst input's ratio.

  In float32, which holds the steps exactly: the outputs of one layer are some
  millions, and the time goes into reading them.
  """
  scale, zero_point = np.float32(tensor.scale), np.float32(tensor.zero_point)
  difference = np.abs(np.rint(fake / scale) + zero_point - steps)
  ratio = sqnr(reference, (steps - zero_point) * scale)
  low, high = (
    (limit - tensor.zero_point) * tensor.scale
    for limit in (tensor.qmin, tensor.qmax)
  )
  half = tensor.scale / 2
  outside = (reference < low - half) | (reference > high + half)
  return LayerAgreement(
    name=tensor.name,
    scale=tensor.scale,
    bits=tensor.bits,
    range=(low, high),
    float_range=(float(reference.min()), float(reference.max())),
    clipped=float(np.mean(outside)),
    float_to_fake=sqnr(reference, fake),
    float_to_integer=ratio,
    lost=source - ratio,
    fake_to_integer_steps=int(difference.max()),
    fake_to_integer_differing=float(np.mean(difference > 0)),
  )


def activations(
  model: nn.Module, variables: dict[str, Any], images: np.ndarray, mode: Mode
) -> dict[str, np.ndarray]:
  """The output of every layer in `mode`, by the layer's path; float32."""
  collected = _make_run(model, mode)(variables, images)['intermediates']
  return {
    jax.tree_util.keystr(path[:-2], simple=True, separator='/'): np.asarray(
      leaf, np.float32
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(collected)
  }


@functools.cache
def _make_run(model: nn.Module, mode: Mode) -> Callable:
  """Compiled once, however often one model is compared."""
  return jit_once(
    lambda v, x: model.apply(v, x, mode, mutable=['intermediates'])[1]
  )


def sqnr(signal: np.ndarray, approximation: np.ndarray) -> float:
  """Signal-to-quantization-noise ratio in dB; infinite where they are equal."""
  noise = _power(signal - approximation)
  if noise == 0:
    return float('inf')
  # A silent layer has no signal to be above its noise.
  power = max(_power(signal), np.finfo(np.float64).tiny)
  return float(10 * np.log10(power / noise))


def _power(values: np.ndarray) -> float:
  return float(np.sum(np.square(values, dtype=np.float64)))
