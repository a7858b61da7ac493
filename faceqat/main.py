"""Trains a network, then evaluates it in three arithmetics.

  python -m faceqat.main --config=configs/mbv2_int8.py --workdir=runs/mbv2_int8

The config says everything about it. The arithmetics, side by side, are float,
fake-quantized and integer.

The same command continues a run that was stopped. Flags change values of the
config: --config.optimizer.learning_rate=0.05

With --distributed, start it once for each process of a TPU pod or of a Slurm
job; elsewhere add --coordinator_address, --num_processes and --process_id.
"""

import signal
import sys

from absl import flags

from faceqat import command


def define_flags():
  command.define_config('The experiment, by its name or file.')
  flags.DEFINE_string('workdir', None, 'Folder for all files of the run.')
  flags.DEFINE_bool('full', False, 'Print every figure of the evaluation.')
  flags.DEFINE_bool(
    'distributed',
    False,
    'Train as one of several processes, which find each other on TPU pods, '
    'Slurm and Open MPI.',
  )
  flags.DEFINE_string(
    'coordinator_address', None, 'Of the first process, as host:port.'
  )
  flags.DEFINE_integer('num_processes', None, 'How many there are.')
  flags.DEFINE_integer('process_id', None, 'Which one this is, from 0.')
  command.group_flags(
    *('several machines', 'distributed', 'coordinator_address'),
    *('num_processes', 'process_id'),
  )
  flags.mark_flags_as_required(['config', 'workdir'])


def main():
  # After the restart, so that JAX is imported once.
  from faceqat.evaluation.networks import evaluate_network
  from faceqat.evaluation.sets import open_sets
  from faceqat.training import distributed
  from faceqat.training.checkpoint import load_network
  from faceqat.training.loop import train

  options = flags.FLAGS
  config, workdir = options.config, options.workdir
  if config.quick_compilation:
    command.compile_quickly()
  with distributed.connected(
    options.distributed,
    options.coordinator_address,
    options.num_processes,
    options.process_id,
  ):
    is_first = distributed.is_first()
    # Before the training, so that wrong pairs show first.
    sets = open_sets(config, config.data.image_size) if is_first else None
    stopped_by = train(config, workdir)
    if stopped_by is not None:
      sys.exit(128 + signal.Signals(stopped_by))
    if is_first:
      network = load_network(workdir)
      evaluate_network(network, workdir, config, opened=sets, full=options.full)


if __name__ == '__main__':
  define_flags()
  command.restart_with_tuned_allocator()
  command.run(main)
