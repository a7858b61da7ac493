"""Training and exactness on one GPU, within five minutes.

  python -m benchmarks.gpu

Needs jax[cuda12]; PyTorch runs beside it where it is installed. It prints

* how many bits of the integer evaluator differ from the processor's, and have
  to be 0;
* forward and backward of depthwise convolutions, as shifted multiply-adds and
  as XLA's grouped convolution: the form that `quant/convolution.py` takes on a
  GPU should be the faster one;
* of each network images a second, peak memory and ratios: training steps
  (ArcFace, SGD with momentum) in float32, bf16 and QAT in bf16, on a batch that
  stays on the device, and from JPEG crops on the disk, which are written and
  decoded once; beside PyTorch in the same precisions, eager and compiled.

Steps are taken in turns. What would begin after --seconds is left out and
named. Memory is what XLA plans for the step, and what PyTorch has allocated at
most. --smoke makes all of it small, for a processor.
"""

import contextlib
import functools
import importlib.util
import io
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
import tabulate
from absl import flags
from PIL import Image

from benchmarks import convolution, training_step
from benchmarks import training_task as task
from benchmarks.integer_evaluator import make_network
from configs import common
from faceqat import command
from faceqat.calibration.lower import lower
from faceqat.data import decoded, pipeline
from faceqat.data.augment import Augment
from faceqat.data.augment_batch import augment_batch
from faceqat.data.sources.folder import FolderSource
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.spec import Mode
from faceqat.training.train_state import create_state, train_step

NETWORKS = ('mobilefacenet', 'mobilenet_v2', 'ir50')
FLOAT, QAT = Mode(train=True), Mode(train=True, quantize=True, observe=True)
PRECISIONS = {
  'float32': ('float32', FLOAT),
  'bf16': ('bfloat16', FLOAT),
  'QAT bf16': ('bfloat16', QAT),
}
# Numerator, denominator, goal; of images/s.
RATIOS = (
  ('QAT bf16', 'bf16', 0.9),
  ('QAT bf16, from disk', 'QAT bf16', 1.0),
  ('float32', 'PyTorch float32 compiled', 1.0),
  ('bf16', 'PyTorch bf16 compiled', 1.0),
)
IMAGES_OF_A_PERSON = 4


class Step(NamedTuple):
  """Something that trains.

  Attributes:
    run: takes so many steps and returns when they are done.
    memory: its peak in bytes, after it has run.
  """

  run: Callable[[int], None]
  memory: Callable[[], int]


def make_batches(batch_size: int) -> Callable[[], dict]:
  """A function that gives one batch on the device, always the same."""
  images, labels = task.make_batch(batch_size)
  batch = jax.device_put({'image': images, 'label': labels})
  return lambda: batch


def make_steps(
  name: str,
  precision: str,
  multiplier: float,
  sources: dict[str, Callable[[], dict]],
) -> dict[str, Step]:
  """Compiles a step of ours, once for batches of several functions."""
  dtype, mode = PRECISIONS[precision]
  recipe = training_step.make_recipe(name, dtype, multiplier)
  step = jax.jit(
    functools.partial(train_step, recipe=recipe, mode=mode),
    donate_argnames='state',
  )

  def make_state():
    return create_state(
      recipe, num_classes=task.NUM_CLASSES, image_size=task.IMAGE_SIZE
    )

  first = next(iter(sources.values()))()
  compiled = step.lower(make_state(), first).compile()
  plan = compiled.memory_analysis()
  taken = (
    plan.temp_size_in_bytes
    + plan.argument_size_in_bytes
    + plan.output_size_in_bytes
    - plan.alias_size_in_bytes
  )

  def make_run(next_batch):
    state = make_state()

    def run(count: int):
      nonlocal state
      for _ in range(count):
        state, metrics = compiled(state, next_batch())
      loss = float(metrics['loss'])
      if not np.isfinite(loss):
        raise FloatingPointError(f'{name} in {precision}: the loss is {loss}')

    return run

  return {
    f'{precision}{where}': Step(make_run(next_batch), lambda: taken)
    for where, next_batch in sources.items()
  }


def make_torch_steps(
  name: str, batch_size: int, compiles: bool
) -> dict[str, Step]:
  """PyTorch's, by what the table calls them; {} where it is not installed."""
  if importlib.util.find_spec('torch') is None:
    return {}
  import torch

  from benchmarks import torch_training

  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  batch = torch_training.make_batch(batch_size, device)

  def memory():
    return torch.cuda.max_memory_allocated() if device == 'cuda' else 0

  steps = {}
  for suffix in ('', ' compiled') if compiles else ('',):
    for precision in ('float32', 'bf16'):
      one = torch_training.make_step(
        torch_training.make_network(name),
        batch,
        bfloat16=precision == 'bf16',
        compiles=bool(suffix),
      )

      def run(count, one=one):
        if device == 'cuda':
          torch.cuda.reset_peak_memory_stats()
        for _ in range(count):
          one()

      steps[f'PyTorch {precision}{suffix}'] = Step(run, memory)
  return steps


def write_crops(folder: str, people: int):
  """A folder person/image.jpg of smooth noise, some 5 KB an image."""
  rng = np.random.default_rng(0)
  for person in range(people):
    place = pathlib.Path(folder, f'{person:05}')
    place.mkdir()
    for image in range(IMAGES_OF_A_PERSON):
      small = Image.fromarray(rng.integers(0, 256, (28, 28, 3), np.uint8))
      content = io.BytesIO()
      small.resize((task.IMAGE_SIZE,) * 2).save(content, 'JPEG', quality=90)
      (place / f'{image}.jpg').write_bytes(content.getvalue())


@contextlib.contextmanager
def batches_from_disk(
  batch_size: int, people: int
) -> Iterator[Callable[[], dict]]:
  """A function that gives augmented batches, as the training loop has them."""
  with tempfile.TemporaryDirectory() as folder:
    os.environ['XDG_CACHE_HOME'] = f'{folder}/cache'
    crops = pathlib.Path(folder, 'crops')
    crops.mkdir()
    write_crops(str(crops), people)
    source = FolderSource(crops, task.IMAGE_SIZE)
    source, notes = decoded.keep_decoded(source, task.IMAGE_SIZE, 10.0)
    if notes:
      raise ValueError(notes[0])
    iterator = pipeline.make_train_iterator(
      source,
      batch_size=batch_size,
      seed=0,
      augment=Augment(**common.data().augment),
      skip_damaged=False,
      num_threads=2,
    )
    with contextlib.closing(iterator):
      yield lambda: augment_batch(jax.device_put(next(iterator)))


def measure(steps: dict[str, Step], count: int, rounds: int) -> dict:
  """Images of `count` steps a second, of each round, over the batch size."""
  rates = {name: [] for name in steps}
  for _ in range(rounds + 1):
    for name, step in steps.items():
      began = time.perf_counter()
      step.run(count)
      rates[name].append(count / (time.perf_counter() - began))
  return {name: values[1:] for name, values in rates.items()}


def print_exactness(name: str, multiplier: float):
  """Bits of int8 embeddings that differ between this device and the CPU.

  Raises:
    ValueError: some do.
  """
  program = lower(make_network(name, multiplier))
  images = task.make_batch(16)[0]
  answers = [
    np.asarray(make_evaluator(program)(jax.device_put(images, device)))
    for device in (jax.devices()[0], jax.devices('cpu')[0])
  ]
  one, other = (answer.view(np.uint8) for answer in answers)
  bits = int(np.bitwise_count(one ^ other).sum())
  print(f'{name}: {bits} of {8 * one.size} bits of the integers differ')
  if bits:
    raise ValueError(f'{name}: the integer evaluator is not exact here')


def print_depthwise(layers: Sequence[tuple], batch_size: int, rounds: int):
  rows = []
  for layer in layers:
    size, channels, outputs, taps, stride = layer
    if outputs is None:
      times = convolution.measure(layer, batch_size, rounds)
      shifted, grouped = (
        1e3 * statistics.median(times[form]) for form in ('ours', 'lax')
      )
      rows.append(
        (
          f'{size}x{size}x{channels} {taps}x{taps}/{stride}',
          shifted,
          grouped,
          shifted / grouped,
        )
      )
  headers = 'depthwise', 'shifted ms', 'grouped ms', 'ratio'
  print(tabulate.tabulate(rows, headers, 'pipe', floatfmt='.2f'))


def print_training(
  name: str, steps: dict[str, Step], batch_size: int, count: int, rounds: int
):
  rates = measure(steps, count, rounds)
  medians = {key: statistics.median(values) for key, values in rates.items()}
  rows = [
    (key, batch_size * rate, steps[key].memory() / 1e6)
    for key, rate in medians.items()
  ]
  headers = f'{name}, batch {batch_size}', 'images/s', 'peak MB'
  print(tabulate.tabulate(rows, headers, 'pipe', floatfmt=',.0f'))
  for key, reference, goal in RATIOS:
    if {key, reference} <= {*medians}:
      ratio = medians[key] / medians[reference]
      print(f'{key} / {reference}: {ratio:.2f}, at least {goal} is the goal')


def main():
  args = flags.FLAGS
  # PyTorch needs memory too.
  os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'
  small = args.smoke
  batch_size, count, rounds = (4, 1, 1) if small else (args.batch_size, 20, 3)
  multiplier = 0.1 if small else 1.0
  print(f'{jax.devices()[0].device_kind}, jax {jax.__version__}', flush=True)
  deadline = time.monotonic() + args.seconds

  def has_time(what: str) -> bool:
    if time.monotonic() < deadline:
      return True
    print(f'left out after {args.seconds} s: {what}')
    return False

  for name in args.networks[:1] if small else NETWORKS[:2]:
    print_exactness(name, multiplier)
  layers = convolution.LAYERS[:2] if small else convolution.LAYERS
  print_depthwise(layers, 2 if small else 256, rounds)
  people = 8 if small else 1000
  in_memory = make_batches(batch_size)
  with batches_from_disk(batch_size, people) as from_disk:
    for name in args.networks:
      if not has_time(name):
        continue
      steps = {}
      for precision in PRECISIONS:
        sources = {'': in_memory}
        if precision == 'QAT bf16':
          sources[', from disk'] = from_disk
        steps |= make_steps(name, precision, multiplier, sources)
      if not small and has_time(f'PyTorch of {name}'):
        steps |= make_torch_steps(name, batch_size, compiles=True)
      print_training(name, steps, batch_size, count, rounds)


if __name__ == '__main__':
  flags.DEFINE_list('networks', list(NETWORKS), 'Of configs/models.py.')
  flags.DEFINE_integer('batch_size', 512, 'Images a step.', lower_bound=2)
  flags.DEFINE_integer('seconds', 270, 'After them nothing new begins.')
  flags.DEFINE_bool('smoke', False, 'All in a small form.')
  command.restart_with_tuned_allocator()
  command.run(main)
