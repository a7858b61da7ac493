"""Writes the ranges that a packaged network ships with, from a run.

  python -m faceqat.main --config=configs/sface_int8.py --workdir=runs/sface \
    --config.data.path=FACES --config.data.fingerprint.template=arcface
  python -m benchmarks.package_network --run=runs/sface --name=sface_int8 \
    --provenance='256 images of FACES'

It replaces the file in faceqat/calibration, and prints the digest of the
integer program, which a test compares.
"""

from absl import flags

from faceqat import command
from faceqat.calibration import packaged_files, packaged_network
from faceqat.calibration.lower import lower
from faceqat.integer import program as integer_program
from faceqat.training.checkpoint import load_network


def define_flags():
  flags.DEFINE_string('run', None, 'Folder of the run that was calibrated.')
  flags.DEFINE_enum('name', None, packaged_files.NAMES, 'Of the network.')
  flags.DEFINE_string('provenance', None, 'On what it was calibrated.')
  flags.mark_flags_as_required(['run', 'name', 'provenance'])


def main():
  args = flags.FLAGS
  path = packaged_files.path_of(args.name)
  packaged_network.package(load_network(args.run), args.provenance, path)
  print(f'{path}: {path.stat().st_size:,} bytes')
  program = lower(packaged_network.load_packaged(args.name))
  print(f'program: SHA-256 {integer_program.digest(program)}')


if __name__ == '__main__':
  define_flags()
  command.run(main)
