"""The tables of `benchmarks/identities.py`, each in a process of its own."""

import contextlib
import dataclasses
import pathlib
import statistics
import tempfile
import time

import jax
import ml_collections
import numpy as np
from absl import flags

from benchmarks import page_tables, timing
from benchmarks.classifier_step import Task
from faceqat import command
from faceqat.training.checkpoint import Checkpointer
from faceqat.training.memory import memory_of
from faceqat.training.resume import read_saved, restore_first

# Published, of a GPU of 8 V100 with 32 GB: people, images of all GPUs a step,
# MB. Embeddings of 512 numbers, ResNet-50 included, half precision.
# arcface_torch: the README of insightface/recognition/arcface_torch. PLSC: its
# README of 2.2, and `--embedding_size 512` and `--sample_ratio 0.1` of its
# scripts/find_maximum_classes_static.sh; MiB there.
PUBLISHED = (
  ('arcface_torch, model parallel', 5_500_000, 1024, 32_188),
  ('arcface_torch, PartialFC 0.1', 5_500_000, 1024, 9_854),
  ('arcface_torch, PartialFC 0.1', 29_000_000, 1024, 32_324),
  ('PLSC, FP16, sample ratio 0.1', 92_000_000, 512, 33_867),
)


def main():
  small = flags.FLAGS.small
  if flags.FLAGS.card:
    print_card(flags.FLAGS.card)
    return
  tables = {
    'bytes': print_bytes,
    'resident': print_resident,
    'milliseconds': print_milliseconds,
    'differences': print_differences,
  }
  tables[flags.FLAGS.table](small)
  print(flush=True)


def print_bytes(small: bool):
  """What a device holds, by XLA's analysis of the compiled step."""
  forms = ('dense', 'whole', 'blocked', 'sampled')
  print('MB of a device in a step; 1,024 images of all devices; float32\n')
  page_tables.print_titles(('people', 'numbers', 'devices', *forms))
  for people in (1000,) if small else (10**5, 10**6, 10**7, 10**8):
    for dimension in (128,) if small else (128, 512):
      for devices in (1, 8) if small else (1, 8, 64):
        tasks = [Task(form, people, dimension, 1024, devices) for form in forms]
        cells = map(_megabytes, tasks)
        page_tables.print_row((f'{people:,}', dimension, devices, *cells))
  print(
    '\nPublished, of one of 8 V100 and with its network; beside it the '
    'classifier here, 512 numbers on 8 devices\n'
  )
  page_tables.print_titles(
    ('', 'people', 'MB', 'blocked', 'sampled', 'sampled, bfloat16')
  )
  for who, people, images, megabytes in PUBLISHED[:1] if small else PUBLISHED:
    tasks = (
      Task('blocked', people, 512, images, 8),
      Task('sampled', people, 512, images, 8),
      Task('sampled', people, 512, images, 8, dtype='bfloat16'),
    )
    cells = map(_megabytes, tasks)
    page_tables.print_row((who, f'{people:,}', f'{megabytes:,}', *cells))


def _megabytes(task):
  return f'{task.bytes_of(task.compiled()) / 1e6:,.0f}'


def print_resident(small: bool):
  """A training on simulated devices: what the process holds, and XLA says."""
  people, steps = (1000, 2) if small else (10**6, 3)
  forms = ('blocked', 'sampled')
  print(f'{people:,} people of 128 numbers on 8 devices, trained\n')
  titles = ('', 'steps', 'loss', 'MB resident more', 'MB by analysis')
  page_tables.print_titles((*titles, 'to save', 'to restore'))
  for form in forms:
    task = Task(form, people, 128, 512, 8)
    compiled = task.compiled()
    before = _resident('VmRSS')
    state = jax.block_until_ready(task.initial())
    # The peak of the steps, not that of the first random numbers.
    _forget_peak()
    for number in range(steps):
      state, metrics = compiled(state, task.batch(number))
      jax.block_until_ready(state)
    more = _resident('VmHWM') - before
    memory = 8 * task.bytes_of(compiled)
    sizes = (more, memory, *_checkpoint_bytes(task, state))
    loss = f'{float(metrics["loss"]):.3f}'
    cells = (f'{size / 1e6:,.0f}' for size in sizes)
    page_tables.print_row((form, steps, loss, *cells))
    del state, compiled


def _checkpoint_bytes(task, state) -> tuple[int, int]:
  """What saving a state needs, and restoring it in its place; and no more."""
  with tempfile.TemporaryDirectory() as folder:
    _forget_peak()
    before = _resident('VmRSS')
    with contextlib.closing(Checkpointer(folder)) as checkpointer:
      checkpointer.save(
        state, {}, ml_collections.ConfigDict(), classes=task.people
      )
    to_save = _resident('VmHWM') - before
    _forget_peak()
    before = _resident('VmRSS')
    _restored(folder, state, task)
    return to_save, _resident('VmHWM') - before


def _restored(folder, state, task):
  people = list(map(str, range(task.people)))
  with contextlib.closing(Checkpointer(folder)) as checkpointer:
    saved = read_saved(checkpointer)
    return restore_first(checkpointer, saved, state, task.mesh, people)


def _forget_peak():
  pathlib.Path('/proc/self/clear_refs').write_text('5')


def _resident(field: str) -> int:
  """Bytes of this process: VmRSS now, VmHWM at most since the last row."""
  status = pathlib.Path('/proc/self/status').read_text()
  (line,) = (x for x in status.splitlines() if x.startswith(f'{field}:'))
  return 1024 * int(line.split()[1])


def print_milliseconds(small: bool):
  """A step on one device, in turns; without a network."""
  dimension, batch_size = 128, 64
  print(
    f'Milliseconds of a step, {dimension} numbers, {batch_size} images; beside '
    'it the median ratio to dense\n'
  )
  page_tables.print_titles(('people', 'dense', 'blocked', '', 'sampled', ''))
  for people in (1000,) if small else (10**3, 10**4, 10**5, 10**6):
    passes = {
      form: _pass(Task(form, people, dimension, batch_size, 1))
      for form in ('dense', 'blocked', 'sampled')
    }
    # Of a million, a dense step takes seconds.
    rounds = 1 if small else 3 if people == 10**6 else 15
    seconds = timing.interleave(passes, rounds)
    cells = [f'{1e3 * statistics.median(seconds["dense"]):,.1f}']
    for form in ('blocked', 'sampled'):
      cells.append(f'{1e3 * statistics.median(seconds[form]):,.1f}')
      ratio = timing.median_ratio(seconds[form], seconds['dense'])
      cells.append(f'{ratio:.2f}')
    page_tables.print_row((f'{people:,}', *cells))


def _pass(task):
  state, batch = task.initial(), task.batch(0)

  def run():
    nonlocal state
    state, metrics = task.step(state, batch)
    jax.block_until_ready((state, metrics))

  return run


def print_differences(small: bool):
  """Between numbers of devices, and of a run that moved between them."""
  people, steps = (101, 2) if small else (10_001, 8)
  base = Task('dense', people, 128, 48, 1, scale=16.0)
  print(f'{people:,} people, 48 images a step; against dense on one device\n')
  titles = ('', 'devices', 'loss, relative', 'gradient, of the largest')
  page_tables.print_titles(titles)
  wanted = _loss_and_gradient(base)
  for form in ('dense', 'blocked'):
    for devices in (1, 3, 8):
      task = dataclasses.replace(base, form=form, devices=devices)
      loss, gradient = _loss_and_gradient(task)
      of_gradient = np.abs(gradient - wanted[1]).max() / np.abs(wanted[1]).max()
      page_tables.print_row(
        (
          form,
          devices,
          f'{abs(loss / wanted[0] - 1):.1e}',
          f'{of_gradient:.1e}',
        )
      )
  print(f'\nAfter {steps} steps, against 8 devices all the time\n')
  page_tables.print_titles(('', 'moved', 'loss, relative', 'class weights'))
  moves = (8, 1) if small else (8, 8, 3, 3, 1, 1, 8, 8)
  for form in ('blocked', 'sampled'):
    task = dataclasses.replace(base, form=form, devices=8)
    stayed, moved = _learn(task, (8,) * steps), _learn(task, moves)
    apart = np.abs(stayed[1] - moved[1]).max() / np.abs(stayed[1]).max()
    page_tables.print_row(
      (
        form,
        ' to '.join(map(str, dict.fromkeys(moves))) + ' to 8' * (not small),
        f'{abs(moved[0] / stayed[0] - 1):.1e}',
        f'{apart:.1e}',
      )
    )


def _loss_and_gradient(task):
  """Of a first step; the momentum is then the gradient and weight decay."""
  state, metrics = task.step(task.initial(), task.batch(0))
  momentum = state.opt_state[-1][0].trace['classifier']
  found = momentum['weights'].T if 'weights' in momentum else momentum['rows']
  return float(metrics['loss']), np.asarray(found)[: task.people]


def _learn(task, moves):
  """The last loss and the class weights; `moves` has the devices of a step."""
  state = None
  for number, devices in enumerate(moves):
    if state is None or devices != task.devices:
      task = dataclasses.replace(task, devices=devices)
      state = task.initial() if state is None else _moved(state, task)
    state, metrics = task.step(state, task.batch(number))
  rows = np.asarray(state.params['classifier']['rows'])
  return float(metrics['loss']), rows[: task.people]


def _moved(state, task):
  """A state on the devices of a task, by way of a checkpoint."""
  config = ml_collections.ConfigDict()
  with tempfile.TemporaryDirectory() as folder:
    with contextlib.closing(Checkpointer(folder)) as checkpointer:
      checkpointer.save(state, {}, config, classes=task.people)
    return _restored(folder, task.initial(), task)


def print_card(people: int):
  """As many people as one card trains; fewer, where they fit, on a CPU."""
  task = Task('sampled', people, 128, 512, 1, dtype='bfloat16')
  print(f'{people:,} people of 128 numbers, 512 images a step, 0.1 sampled')
  compiled = task.compiled()
  in_step, at_first = task.bytes_of(compiled), task.bytes_at_start()
  print(
    f'by analysis {in_step / 1e9:,.3f} GB in a step, {at_first / 1e9:,.3f} GB '
    'as the first state is made',
    flush=True,
  )
  device = jax.devices()[0]
  there = memory_of(device)
  if max(in_step, at_first) > there:
    print(f'{device} has {there / 1e9:,.1f} GB: nothing is trained')
    return
  state, batch = task.initial(), task.batch(0)
  state, metrics = compiled(state, batch)
  jax.block_until_ready(state)
  start, steps = time.perf_counter(), 20
  for _ in range(steps):
    state, metrics = compiled(state, batch)
  loss = float(metrics['loss'])
  rate = steps * task.batch_size / (time.perf_counter() - start)
  # A CPU has no statistics: those of the process.
  stats = device.memory_stats() or {'peak_bytes_in_use': _resident('VmHWM')}
  peak = stats['peak_bytes_in_use'] / 1e9
  print(f'{rate:,.0f} images/s, {peak:,.1f} GB at the peak, loss {loss:.3f}')


if __name__ == '__main__':
  flags.DEFINE_string('table', 'bytes', 'Which table.')
  flags.DEFINE_bool('small', False, 'Few people, for a test.')
  flags.DEFINE_integer('card', 0, 'People to train on one GPU.')
  command.run(main)
