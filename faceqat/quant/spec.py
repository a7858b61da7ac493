"""Settings of quantization: the bits of each layer, and the mode of a call."""

import dataclasses
import fnmatch
import glob
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from faceqat.fields import check_values, make_of_block
from faceqat.quant.learned_step import INITIALIZATIONS
from faceqat.quant.observers import OBSERVERS

BITS = range(2, 9)
PRELU_FORMS = ('operator', 'sum')
MEAN_FORMS = ('operator', 'average_pool')
INPUT_FORMS = ('shared', 'own')


@dataclasses.dataclass(frozen=True)
class Mode:
  """The mode of a call; static under `jax.jit`.

  Attributes:
    train: normalise with the statistics of the batch, and update the moving
      ones.
    quantize: fake-quantize weights and activations.
    observe: update the activation ranges from this batch; while training, only
      those of layers where `LayerQuant.observes_training`.
    freeze_bn: while training, normalise with the moving statistics and leave
      them as they are (Jacob et al. 2018, section 3.2; Krishnamoorthi 2018,
      section 3.2.2).
    rounding: of activations, one of `numerics.ROUNDINGS`.
    initialize_steps: set the learned steps in `params`, which has to be
      mutable: an activation's to the scale of its range, a kernel's by
      `LayerQuant.step_initialization`.
  """

  train: bool = False
  quantize: bool = False
  observe: bool = False
  freeze_bn: bool = False
  rounding: str = 'half_up'
  initialize_steps: bool = False

  @property
  def rounds_twice(self) -> bool:
    """Whether roundings depend on the scales of what a layer reads."""
    return self.quantize and self.rounding == 'double'

  @property
  def batch_statistics(self) -> bool:
    return self.train and not self.freeze_bn


FLOAT = Mode()
# The float counterpart of an integer program rounds as the contract does. Sums
# differ in their last bits, and so do a few roundings.
FAKE_QUANT = Mode(quantize=True, rounding='double')
CONTRACT_MODES = {
  'tflite_ref': FAKE_QUANT,
  'xnnpack': Mode(quantize=True, rounding='half_even'),
}
# Observes the float network, as post-training quantization does.
CALIBRATE = Mode(observe=True)
# After it, and before training with learned steps.
INITIALIZE_STEPS = Mode(initialize_steps=True)


@dataclasses.dataclass(frozen=True)
class LayerQuant:
  """The quantization of one layer.

  Attributes:
    weight_bits: 2..8; weights are symmetric with a narrow range.
    activation_bits: 2..8, of the layer's output.
    per_channel: one weight scale per output channel, else one per layer.
    symmetric: the output's zero point is 0, and its range narrow.
    observer: of the output's range: 'ema' (moving average of batch ranges),
      'minmax' (widest seen), 'percentile' (clips the outermost of all values
      seen) or 'mse' (least squared error over all values seen). Training does
      not move the ranges of the last two.
    decay: of the moving average, per step.
    percentile: of the values that are not clipped, on either side.
    learned_steps: the steps of weights and output are trained parameters, as in
      LSQ (`learned_step`). The range no longer changes in training, and gives
      the zero point. The slopes of a PReLU have no such step.
    step_initialization: of the weights' steps: 'mse' (least squared error) or
      'lsq' (twice their mean magnitude over sqrt(Qp), as in the paper).
    prelu: the form of a PReLU, one of `PRELU_FORMS`; see `prelu.PReLU`.
    mean: of a mean over an image, one of `MEAN_FORMS`; see `pooling.MeanPool`.
    input: of the first convolution after a residual sum, one of `INPUT_FORMS`:
      'shared', the sum itself; 'own', a copy in this layer's range and bits
      (`blocks.convolution_input`), so that the sum may keep more of them.
  """

  weight_bits: Annotated[int, BITS]
  activation_bits: Annotated[int, BITS]
  per_channel: bool
  symmetric: bool
  observer: Annotated[str, OBSERVERS]
  decay: Annotated[float, '[0, 1)']
  percentile: Annotated[float, '(50, 100]']
  learned_steps: bool
  step_initialization: Annotated[str, INITIALIZATIONS]
  prelu: Annotated[str, PRELU_FORMS]
  mean: Annotated[str, MEAN_FORMS]
  input: Annotated[str, INPUT_FORMS]

  def __post_init__(self):
    check_values(self)

  @property
  def observes_training(self) -> bool:
    """Whether the range still follows the activations of a training."""
    return OBSERVERS[self.observer].in_training and not self.learned_steps


@dataclasses.dataclass(frozen=True)
class QuantSpec:
  """The quantization of a model: a default, and overrides by layer name.

  Attributes:
    default: for every layer that no override names.
    overrides: (pattern, LayerQuant); the pattern is a shell pattern on the
      layer's path, such as `block_3/expand` or `block_*/depthwise`. The last
      that fits holds, whole.
  """

  default: LayerQuant
  overrides: tuple[tuple[str, LayerQuant], ...]

  def layer(self, path: str) -> LayerQuant:
    found = self.default
    for pattern, layer in self.overrides:
      if fnmatch.fnmatchcase(path, pattern):
        found = layer
    return found

  def with_weight_bits(self, bits: int, paths: Iterable[str]) -> 'QuantSpec':
    """The spec with other weight bits for the layers at these paths.

    Raises:
      ValueError: a layer's steps were learned for another number of bits.
    """
    changed = []
    for path in paths:
      layer = self.layer(path)
      if layer.learned_steps and layer.weight_bits != bits:
        raise ValueError(
          f'layer {path} has learned steps for weights of {layer.weight_bits} '
          f'bits, which cannot be rounded to {bits}; train it with '
          f'weight_bits {bits}'
        )
      lowered = dataclasses.replace(layer, weight_bits=bits)
      changed.append((glob.escape(path), lowered))
    return dataclasses.replace(self, overrides=(*self.overrides, *changed))

  def unmatched(self, paths: Sequence[str]) -> list[str]:
    """The patterns of overrides that fit none of the layers at these paths."""
    return [
      pattern
      for pattern, _ in self.overrides
      if not fnmatch.filter(paths, pattern)
    ]


def make_spec(
  default: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]]
) -> QuantSpec:
  """Builds the spec from the config's `quant.default` and `quant.overrides`.

  Args:
    default: all fields of `LayerQuant`.
    overrides: from shell pattern to the fields that differ from `default`.
      Where several fit a layer, its own name goes before patterns, and of
      these the last in alphabetical order: a config sorts its fields, so the
      order of its file says nothing.

  Raises:
    ValueError: an unknown field, one too few, or a value out of range; it names
      the field, and the block or the pattern where it stands.
  """
  base = dict(default)
  owner = 'a quantized layer'
  return QuantSpec(
    make_of_block(LayerQuant, base, block='quant.default', owner=owner),
    tuple(
      (
        pattern,
        make_of_block(
          LayerQuant,
          {**base, **fields},
          block=f'quant.overrides[{pattern!r}]',
          owner=owner,
        ),
      )
      for pattern, fields in sorted(overrides.items(), key=_precedence)
    ),
  )


def _precedence(item: tuple[str, Any]) -> tuple[bool, str]:
  pattern, _ = item
  return pattern == glob.escape(pattern), pattern
