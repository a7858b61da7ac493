"""Compares quantized training in faceqat and in TensorFlow, step by step.

  python -m tests.support.tensorflow_training

The network of `tensorflow_network` learns eight drawn people in both, with the
same weights, images and optimiser. The tables show

* the differences after one step from the same state
* the differences after many steps of their own
* the drift of our layers from themselves after each weight is moved by one unit
  in the last place
* the operation in which each difference begins
"""

import itertools
import os
from collections.abc import Iterator

# Read when TensorFlow is imported: plain kernels, no start-up messages.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import timing
from faceqat import command
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.quant import numerics
from faceqat.quant.spec import Mode
from tests.support import tensorflow_network as network
from tests.support import tensorflow_operations as operations
from tests.support.tensorflow_network import LAYERS, State, Step

IMAGE_SIZE, BATCH_SIZE = 32, 32
IMAGES_PER_PERSON = 16

# Few bits, so that no float32 sum of the exact step needs more than 24.
EXACT_QUANT = network.make_quant(weight_bits=4, activation_bits=6)
EXACT_MODE = Mode(train=True, quantize=True, freeze_bn=True)
_EXACT_SIZE, _EXACT_BATCH = 16, 4

_F32 = np.float32
# A kernel range is 1 + 2^-22 times its weights; this times that rounds to 7.
_LARGEST = 7 - 3 * 2.0**-21


def batches(steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields (images, labels) of drawn people, the same ones at every call."""
  people = SyntheticFaces(network.CLASSES, IMAGES_PER_PERSON, IMAGE_SIZE)
  items = [people[index] for index in range(len(people))]
  images = np.stack([item['image'] for item in items])
  labels = np.stack([item['label'] for item in items])
  rng = np.random.default_rng(0)
  for _ in range(steps):
    chosen = rng.choice(len(images), BATCH_SIZE, replace=False)
    yield images[chosen], labels[chosen]


def exact_problem() -> tuple[State, np.ndarray, np.ndarray]:
  """A state, images and labels with which no sum of a step is rounded.

  All scales are powers of two, the batch norm is frozen at a factor of one,
  and there are a power of two images and pixels: every number is a small
  integer times a power of two.
  """
  rng = np.random.default_rng(0)
  shape = (_EXACT_BATCH, _EXACT_SIZE, _EXACT_SIZE, 3)
  images = rng.integers(0, 16, shape).astype(np.uint8) * 16
  labels = rng.integers(0, network.CLASSES, _EXACT_BATCH).astype(np.int32)
  initial = network.initial_state(images)
  params = {}
  for name, value in initial.params.items():
    if name.endswith('kernel'):
      # The range is a hair wider than the weights (numerics.widest_weight), and
      # is to be a power of two times 7: so the largest weight is below that.
      steps = rng.integers(-6, 7, value.shape)
      steps[(0,) * (value.ndim - 1)] = 7
      value = np.where(steps == 7, _LARGEST, steps) / 8
    elif name.endswith('alpha'):
      value = np.full(value.shape, _LARGEST / 16)
    elif name.endswith('bias'):
      value = rng.integers(-4, 5, value.shape) / 8
      # Off the grid of the sums: nothing is exactly 0 or 6, where the
      # derivative of relu6 is 1/2 in JAX and 0 in TensorFlow.
      value += 2.0**-7 if name.startswith('conv') else 0
    params[name] = np.asarray(value, _F32)
  var = _F32(1) - _F32(network.EPSILON)
  stats = {
    name: np.full_like(value, var if name.endswith('var') else 0)
    for name, value in initial.batch_stats.items()
  }
  # 63 steps of a power of two.
  ranges = {name: np.array([-4, 3.875], _F32) for name in LAYERS}
  ranges['conv'] = np.array([0, 7.875], _F32)
  return State(params, initial.trace, stats, ranges), images, labels


def moved_by_an_ulp(state: State) -> State:
  """The state with every parameter moved to the next float32, up or down."""
  rng = np.random.default_rng(1)
  params = {}
  for name, value in state.params.items():
    direction = rng.choice([-np.inf, np.inf], value.shape).astype(_F32)
    params[name] = np.nextafter(value, direction)
  return state._replace(params=params)


def other_steps(ours: Step, theirs: Step) -> dict[str, int]:
  """By layer, how many outputs are another integer step of their range."""
  counts = {}
  for name in LAYERS:
    a, b = (_integers(step.taps[name]) for step in (ours, theirs))
    counts[name] = int(np.sum(a != b))
  return counts


def _integers(tap):
  scale, _ = numerics.nudged_params(*tap.range, bits=8)
  return np.rint(tap.after / np.asarray(scale))


def largest(a: dict, b: dict) -> float:
  """The largest difference of two sets of arrays, each over its largest."""
  return max(np.abs(a[k] - b[k]).max() / np.abs(a[k]).max() for k in a)


class Trajectories:
  """The two trainings and their controls, a step at a time.

  Attributes:
    before, ours: our state before the last step, and that step.
    results: by name, `Step`s of the same batch: 'once', by TensorFlow from our
      state; 'own', by TensorFlow from its own; 'moved', by us from weights
      that were moved by an ulp at the start; 'float' and 'float own', by us
      and by TensorFlow without any quantizer.
  """

  def __init__(self, images: np.ndarray):
    self._step = network.make_our_step(network.TRAINING)
    self._float_step = network.make_our_step(network.FLOAT_TRAINING)
    self._state = network.initial_state(images)
    self._states = dict.fromkeys(('own', 'float', 'float own'), self._state)
    self._states['moved'] = moved_by_an_ulp(self._state)

  def advance(self, images: np.ndarray, labels: np.ndarray):
    """Takes one step with every one of them."""
    batch, states = (images, labels), self._states
    theirs = network.tensorflow_step
    self.before = self._state
    self.ours = self._step(self._state, *batch)
    self.results = {
      'once': theirs(self._state, *batch, network.TRAINING),
      'own': theirs(states['own'], *batch, network.TRAINING),
      'moved': self._step(states['moved'], *batch),
      'float': self._float_step(states['float'], *batch),
      'float own': theirs(states['float own'], *batch, network.FLOAT_TRAINING),
    }
    self._state = self.ours.state
    self._states = {name: self.results[name].state for name in states}


def print_trajectories(steps: int):
  """Prints how the trainings drift apart; returns them and the last batch."""
  print(
    'Losses of this step, and how many of its quantized outputs are on another '
    'integer\n'
    '            |  TensorFlow, from our state |   TensorFlow, own   |'
    ' ours, an ulp moved | float, own\n'
    'step   loss |    loss  others    gradient |     loss    others  |'
    '    loss    others  |    loss'
  )
  shown = {1, 2, 3, 5, 10, 20, 50, 100, 200, 500, steps}
  trajectories, apart, count = None, [], 0
  for step, batch in enumerate(batches(steps), 1):
    trajectories = trajectories or Trajectories(batch[0])
    trajectories.advance(*batch)
    ours, results = trajectories.ours, trajectories.results
    others, losses = {}, {}
    for name in ('once', 'own', 'moved'):
      others[name] = sum(other_steps(ours, results[name]).values())
      losses[name] = abs(results[name].loss - ours.loss)
    floats = abs(results['float'].loss - results['float own'].loss)
    apart.extend(ties(ours, results['once']))
    count += others['once'] > 0
    if step in shown:
      gradient = largest(ours.gradients, results['once'].gradients)
      print(
        f'{step:4} {ours.loss:.4f} | {losses["once"]:.1e} {others["once"]:7} '
        f'{gradient:11.1e} | {losses["own"]:.2e} {others["own"]:9}  '
        f'| {losses["moved"]:.1e} {others["moved"]:9}  | {floats:.1e}',
        flush=True,
      )
  sizes = sum(ours.taps[name].after.size for name in LAYERS)
  print(
    f'{sizes} quantized outputs a step. From our state, {count} of {steps} '
    f"steps have one on another integer; where a step's first such layer has "
    f'them ({len(apart)} outputs), their distance from a rounding tie is at '
    f'most {max(apart, default=0):.1e} of a step.\n'
  )
  return trajectories, batch


def ties(ours: Step, theirs: Step) -> list[float]:
  """Distances from a tie, in steps, of the first outputs rounded apart."""
  for name in LAYERS:
    a, b = ours.taps[name], theirs.taps[name]
    apart = _integers(a) != _integers(b)
    if apart.any():
      scale, _ = numerics.nudged_params(*a.range, bits=8)
      steps = a.before[apart].astype(np.float64) / np.asarray(scale)
      return list(np.abs(steps - np.floor(steps) - 0.5))
  return []


def print_layers(before: State, ours: Step, batch):
  """Prints one step from the same state, layer by layer."""
  double = network.tensorflow_step(
    before, *batch, network.TRAINING, dtype=tf.float64
  )
  single = network.tensorflow_step(before, *batch, network.TRAINING)
  given = given_ours(before, ours, batch)
  print(
    'The last of these steps, from our state: largest difference over largest '
    'value; float64 is TensorFlow in\nfloat64 but for the quantizers, given '
    'is TensorFlow with our inputs in its quantizers\n'
    f'{"quantizer input":18} ours-TensorFlow  ours-float64  '
    'TensorFlow-float64  others  others, given'
  )
  columns = ((ours, single), (ours, double), (single, double))
  others = other_steps(ours, single), other_steps(ours, given)

  def distances(name, value):
    pairs = [({name: value(a)}, {name: value(b)}) for a, b in columns]
    first, second, third = itertools.starmap(largest, pairs)
    return f'{name:18} {first:15.1e} {second:13.1e} {third:19.1e}'

  for name in LAYERS:
    line = distances(name, lambda step, name=name: step.taps[name].before)
    print(f'{line} {others[0][name]:7} {others[1][name]:14}')
  print(f'{"gradient":18} ... the same, and given - ours')
  for name, gradient in ours.gradients.items():
    line = distances(name, lambda step, name=name: step.gradients[name])
    last = largest({name: gradient}, {name: given.gradients[name]})
    print(f'{line} {last:22.1e}')
  print(
    f'loss: ours - TensorFlow {ours.loss - single.loss:.1e}, '
    f'ours - given {ours.loss - given.loss:.1e}\n'
  )


def given_ours(before: State, ours: Step, batch) -> Step:
  """TensorFlow's step with our values given to its quantizers."""
  values = {name: tap.before for name, tap in ours.taps.items()}
  return network.tensorflow_step(
    before, *batch, network.TRAINING, replaced=values
  )


def print_operations(before: State, ours: Step, batch):
  """Prints single operations on equal inputs."""
  print(
    'Single operations on equal inputs: largest difference over largest value\n'
    f'{"":26}  values  differ  ours-TensorFlow  ours-exact  TensorFlow-exact'
  )
  given = given_ours(before, ours, batch)
  for result in operations.compare(before, ours, given, batch[0]):
    line = (
      f'{result.name:26} {np.size(result.ours):7} {result.differing:7} '
      f'{result.distance("ours", "theirs"):16.1e}'
    )
    if result.exact is not None:
      line += (
        f' {result.distance("ours", "exact"):11.1e} '
        f'{result.distance("theirs", "exact"):17.1e}'
      )
    print(line)


def exact_steps() -> tuple[Step, Step]:
  """The step of `exact_problem` by our layers and by TensorFlow."""
  problem = exact_problem()
  options = {'quant': EXACT_QUANT, 'linear': True}
  ours = network.make_our_step(EXACT_MODE, **options)(*problem)
  return ours, network.tensorflow_step(*problem, EXACT_MODE, **options)


def print_exact():
  """Prints how many values differ where no sum is rounded."""
  ours, theirs = exact_steps()
  print('\nA step whose scales are powers of two, so that no sum is rounded:')

  def values(step):
    yield 'quantizer inputs', [step.taps[name].before for name in LAYERS]
    yield 'outputs', [step.taps[name].after for name in LAYERS]
    yield 'gradients', [step.gradients[name] for name in ours.gradients]
    yield 'weights', [step.state.params[name] for name in ours.state.params]

  for (what, a), (_, b) in zip(values(ours), values(theirs)):
    differing = sum(np.sum(one != other) for one, other in zip(a, b))
    print(f'{what:18} {differing} of {sum(map(np.size, a))} differ')


def main():
  timing.limit_threads(flags.FLAGS.threads)
  tf.config.threading.set_intra_op_parallelism_threads(flags.FLAGS.threads)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  print_all(flags.FLAGS.steps)


def print_all(steps: int):
  """Prints everything, after so many steps of training."""
  trajectories, batch = print_trajectories(steps)
  print_layers(trajectories.before, trajectories.ours, batch)
  print_operations(trajectories.before, trajectories.ours, batch)
  print_exact()


if __name__ == '__main__':
  flags.DEFINE_integer('steps', 100, 'Steps of training.', lower_bound=2)
  flags.DEFINE_integer('threads', 2, 'Of each side.', lower_bound=1)
  command.run(main)
