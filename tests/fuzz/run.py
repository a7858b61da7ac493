"""Fuzzes the readers with Atheris, guided by branch coverage.

  python tests/fuzz/run.py --seconds=60
  python tests/fuzz/run.py --runs=1000 torch_zip bin

Each target runs in its own process, which ends at the first finding and leaves
its input in --findings. The seed is fixed: with --runs, equal runs try equal
inputs.
"""

import argparse
import os
import pathlib
import re
import resource
import sys
import tempfile
import traceback

import atheris

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = map(str, (HERE, ROOT / 'tests/support', ROOT))

# Our readers use these of the standard library.
with atheris.instrument_imports(include=['faceqat', 'zipfile', 'pickletools']):
  import harness
  import targets

# Seconds of the clock; the processor may be busy with other work.
_TIMEOUT = 600


def fuzz(target: harness.Target, limit: str, folder: str, findings: str):
  """Fuzzes until the limit or a finding, and ends the process."""
  # This process ends without cleaning up; its parent removes the folder.
  tempfile.tempdir = folder
  harness.limit_memory()
  corpus = pathlib.Path(folder) / 'corpus'
  corpus.mkdir()
  for number, data in enumerate(target.seeds()):
    (corpus / str(number)).write_bytes(data)
  context = harness.opened(target)
  options = [
    str(corpus),
    *filter(os.path.isdir, [str(HERE / 'corpus' / target.name)]),
    '-seed=1',
    '-len_control=0',
    '-rss_limit_mb=0',
    f'-timeout={_TIMEOUT}',
    '-print_final_stats=1',
    f'-artifact_prefix={findings}/{target.name}-',
    limit,
  ]
  atheris.Setup([sys.argv[0], *options], context.__enter__())
  atheris.Fuzz()


def run(target: harness.Target, limit: str, findings: str) -> bool:
  """Fuzzes in another process; False where there was a finding."""
  with tempfile.TemporaryDirectory() as folder:
    log = pathlib.Path(folder) / 'log'
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    if not (process := os.fork()):
      try:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        fuzz(target, limit, folder, findings)
      except BaseException:
        traceback.print_exc()
      finally:
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    text = log.read_text(errors='replace')
  seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
  count = re.search(r'number_of_executed_units:\s*(\d+)', text)
  reached = re.findall(r'cov: (\d+)', text)
  print(
    f'{target.name}: {int(count[1]) if count else 0:,} executions, '
    f'{reached[-1] if reached else 0} branches, {seconds:.1f} s, '
    f'{"a finding" if status else "no finding"}',
    flush=True,
  )
  if status:
    print(text[-4000:], flush=True)
  return not status


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  limits = parser.add_mutually_exclusive_group(required=True)
  limits.add_argument('--seconds', type=int, help='for each target')
  limits.add_argument('--runs', type=int, help='for each target')
  parser.add_argument('--findings', default='.', help='folder for inputs')
  parser.add_argument('names', nargs='*', help='targets; by default all')
  args = parser.parse_args()
  known = {target.name: target for target in targets.TARGETS}
  assert len(known) == len(targets.TARGETS)
  if args.seconds:
    limit = f'-max_total_time={args.seconds}'
  else:
    limit = f'-runs={args.runs}'
  chosen = [known[name] for name in args.names or known]
  quiet = [run(target, limit, args.findings) for target in chosen]
  sys.exit(0 if all(quiet) else 1)


if __name__ == '__main__':
  main()
