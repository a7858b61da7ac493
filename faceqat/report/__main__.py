"""Writes one HTML page about a run, or a comparison of several.

  python -m faceqat.report runs/mbv2_int8
  python -m faceqat.report runs/y1_ptq runs/y1_int8 --out=comparison.html

The page has everything in it: it can be sent, opened without a network, read on
a phone and printed. Nothing is run again; where a file is missing, its section
says which command makes it.
"""

from absl import flags

from faceqat import command


def define_flags():
  flags.DEFINE_string(
    'out', None, 'File to write; by default WORKDIR/report.html of one run.'
  )
  flags.DEFINE_multi_string(
    'export',
    None,
    'Folder that faceqat.convert wrote, once for each WORKDIR; by default it '
    'is looked for in WORKDIR.',
  )


def main(*workdirs: str):
  from faceqat.report.page import write_report

  path = write_report(workdirs, flags.FLAGS.out, flags.FLAGS.export)
  print(f'{path}: {path.stat().st_size:,} bytes')


if __name__ == '__main__':
  define_flags()
  command.run(main, ('WORKDIR...',))
