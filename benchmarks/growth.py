"""Measures how time and memory grow with the size of a task.

  python -m benchmarks.growth --curves=gallery

Each point is a process of its own. The curves are

* `batch`, `image_size` and `people`: a quantized training step of a config
* `pairs`: the figures, intervals and false-match rates of an evaluation, of
  embeddings that are there already; every image is in one pair
* `gallery`: a search of a gallery for one probe and for 64, by templates of
  float32 and of int16, which gives the ratio of the two

In brackets is the exponent of the growth since the row above: 1 is in
proportion to the input. For `image_size` the input is the pixels.
"""

import math
import resource
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks import page_tables, running
from configs import mbv2_int8
from faceqat import command

POINTS = {
  'batch': (8, 16, 32, 64, 128, 256),
  'image_size': (56, 80, 112, 160),
  'people': (1_000, 10_000, 100_000),
  'pairs': (1_500, 3_000, 6_000, 12_000),
  'gallery': (25_000, 50_000, 100_000, 200_000),
}
_SIZE = 128
# Of the best people, as `identify` prints by default.
_ANSWERS = 5
# In one call.
_PROBES = 64, 1


class Cost(NamedTuple):
  """What a point costs.

  Attributes:
    milliseconds: by the name of what is timed.
    megabytes: of memory, the most that the process held.
  """

  milliseconds: dict[str, float]
  megabytes: float


def measure(curve: str, point: int, rounds: int) -> Cost:
  """Measures one point in this process."""
  passes = {'pairs': _evaluation, 'gallery': _searches}.get(curve)
  timed = passes(point) if passes else _training_step(curve, point)
  milliseconds = {}
  for name, run in timed.items():
    run()  # Compiles.
    seconds = []
    for _ in range(rounds):
      start = time.perf_counter()
      run()
      seconds.append(time.perf_counter() - start)
    milliseconds[name] = 1e3 * statistics.median(seconds)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  return Cost(milliseconds, peak)


def _training_step(curve: str, point: int) -> dict[str, Callable]:
  import jax

  from faceqat.files.image_size import height_width
  from faceqat.losses.objective import make_objective
  from faceqat.models.build import make_model
  from faceqat.quant.spec import Mode
  from faceqat.training.plan import make_recipe
  from faceqat.training.stages import make_stages
  from faceqat.training.train_state import create_state, train_step

  config = flags.FLAGS.config or mbv2_int8.get_config()
  people = point if curve == 'people' else 1000
  if curve == 'batch':
    config.batch_size = point
  if curve == 'image_size':
    config.data.image_size = point
  size = height_width(config.data.image_size)
  rng = np.random.default_rng(0)
  batch = jax.device_put(
    {
      'image': rng.integers(0, 256, (config.batch_size, *size, 3), np.uint8),
      'label': rng.integers(0, people, config.batch_size, np.int32),
    }
  )
  model, objective = make_model(config), make_objective(config.loss)
  recipe, _ = make_recipe(config, model, objective, make_stages(config)[0])
  state = create_state(
    recipe, num_classes=people, image_size=config.data.image_size
  )
  step = jax.jit(
    train_step, static_argnames=('recipe', 'mode'), donate_argnames='state'
  )
  mode = Mode(train=True, quantize=True, observe=True)

  def run():
    nonlocal state
    state, metrics = step(state, batch, recipe=recipe, mode=mode)
    float(metrics['loss'])

  return {'a step': run}


def _evaluation(pairs: int) -> dict[str, Callable]:
  from faceqat.data.benchmarks.pairs import PairSet, consecutive_folds
  from faceqat.evaluators import precisions, rate_table, verification

  rng = np.random.default_rng(0)
  same = np.arange(pairs) % 2 == 0
  rows = np.arange(2 * pairs).reshape(pairs, 2)
  # Two images of one person, or of two.
  people = np.where(same[:, np.newaxis], rows[:, :1], rows)
  faces = rng.normal(size=(2 * pairs, _SIZE))
  faces[rows[same, 1]] = faces[rows[same, 0]]
  images = np.float32(faces + 0.8 * rng.normal(size=faces.shape))
  pair_set = PairSet(
    'drawn', (), *rows.T, same, consecutive_folds(pairs), people
  )
  embedded = verification.PairEmbeddings(images, rows.T)
  scores = verification.cosine(embedded.first, embedded.second)
  return {
    'figures': lambda: dict(precisions._summarize(scores, pair_set, None)),
    'rates': lambda: rate_table.measure(
      pair_set, embedded, faces='drawn', provenance='', network='', program=''
    ),
  }


def _searches(templates: int) -> dict[str, Callable]:
  from faceqat.identification import retrieval

  rng = np.random.default_rng(0)
  integers = np.rint(rng.normal(size=(templates, _SIZE)) * 60).astype(np.int16)
  unit = np.float32(integers)
  unit /= np.linalg.norm(unit, axis=1, keepdims=True)
  timed = {}
  for probes in _PROBES:
    for kind, gallery in (('float32', unit), ('int16', integers)):
      index = retrieval.Index(gallery, np.arange(templates))
      timed[f'{kind}, {probes}'] = lambda index=index, some=gallery[:probes]: (
        index.find_people(some, _ANSWERS)
      )
  return timed


def print_curve(curve: str, points: list[int], costs: list[Cost]):
  """Prints the table of a curve, by rising points."""
  titles = [curve, *(f'{name}, ms' for name in costs[0].milliseconds), 'MB']
  if curve == 'gallery':
    titles += [f'int16 / float32, {count}' for count in _PROBES]
  page_tables.print_titles(titles)
  inputs = [point**2 if curve == 'image_size' else point for point in points]
  for place, (point, cost) in enumerate(zip(points, costs)):
    values = [*cost.milliseconds.values(), cost.megabytes]
    cells = [f'{value:,.1f}' for value in values[:-1]] + [f'{values[-1]:,.0f}']
    if place:
      before = costs[place - 1]
      step = math.log(inputs[place] / inputs[place - 1])
      for index, value in enumerate(
        [*before.milliseconds.values(), before.megabytes]
      ):
        cells[index] += f' ({math.log(values[index] / value) / step:.2f})'
    if curve == 'gallery':
      found = cost.milliseconds
      cells += [
        f'{found[f"int16, {n}"] / found[f"float32, {n}"]:.2f}' for n in _PROBES
      ]
    page_tables.print_row([f'{point:,}', *cells])


def main():
  args = flags.FLAGS
  if args.point:
    cost = measure(args.curves[0], args.point, args.rounds)
    for name, value in cost.milliseconds.items():
      print(f'{name}\t{value}')
    print(cost.megabytes)
    return
  running.check_names('--curves', args.curves, POINTS)
  for curve in args.curves:
    points = sorted(map(int, args.points)) or list(POINTS[curve])
    costs = [_in_process(curve, point) for point in points]
    print_curve(curve, points, costs)


def _in_process(curve: str, point: int) -> Cost:
  words = [f'--curves={curve}', f'--point={point}']
  for name in ('rounds', 'config'):
    flag = flags.FLAGS[name]
    if flag.present:
      value = flag.value if name == 'rounds' else flag.config_filename
      words.append(f'--{name}={value}')
  *lines, peak = running.run_module('benchmarks.growth', *words).splitlines()
  named = (line.split('\t') for line in lines)
  return Cost({name: float(value) for name, value in named}, float(peak))


if __name__ == '__main__':
  flags.DEFINE_list('curves', list(POINTS), 'Which.')
  flags.DEFINE_list('points', [], 'Sizes, in place of those of the curve.')
  flags.DEFINE_integer('point', 0, 'Measure this size in this process.')
  flags.DEFINE_integer('rounds', 5, 'Timed passes of each.', lower_bound=1)
  command.define_config('Whose training step; mbv2_int8 by default.')
  command.restart_with_tuned_allocator()
  command.run(main)
