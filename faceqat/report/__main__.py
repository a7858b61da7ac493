"""Writes one HTML page about a run, or a comparison of several.

  python -m faceqat.report runs/mbv2_int8
  python -m faceqat.report runs/y1_ptq runs/y1_int8 --out=comparison.html

The page has everything in it: it can be sent, opened without a network, read on
a phone and printed. Nothing is run again; what a run has not left behind, its
section says, and which command makes it.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from faceqat import command
from faceqat.files import atomic
from faceqat.report import network_sections
from faceqat.report.page import make_page
from faceqat.report.run_folder import read_run


def write_report(
  workdirs: Sequence[str],
  out: str | None = None,
  exports: Sequence[str] | None = None,
) -> pathlib.Path:
  """Reads runs and writes their page.

  Args:
    workdirs: folders of runs, one or more.
    out: the file to write; None: `report.html` in the folder of the only run.
    exports: folders that `faceqat.convert` wrote, one for each run; None: each
      is looked for in its run's folder.

  Returns:
    The file.

  Raises:
    ValueError: several runs without `out`, the same twice, not as many
      exports, or a folder that is not that of a run or has a damaged file.
  """
  folders = [pathlib.Path(name).resolve() for name in workdirs]
  if len(set(folders)) < len(folders):
    raise ValueError('a WORKDIR is given twice; give each once')
  if out is None and len(folders) > 1:
    raise ValueError(
      f'{len(folders)} runs go on one page; give --out=comparison.html'
    )
  if exports is not None and len(exports) != len(folders):
    raise ValueError(
      f'--export is given {len(exports)} times, but there are {len(folders)} '
      'runs; give it once for each, in their order'
    )
  names = [folder.name for folder in folders]
  labels = workdirs if len(set(names)) < len(names) else names
  runs = [
    read_run(workdir, label, export)
    for workdir, label, export in zip(
      workdirs, labels, exports or [None] * len(workdirs)
    )
  ]
  path = pathlib.Path(out) if out else pathlib.Path(workdirs[0]) / 'report.html'
  page = make_page(runs, network_sections.made_with())
  atomic.write(path, page.encode('utf-8', 'replace'))
  return path


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
  path = write_report(workdirs, flags.FLAGS.out, flags.FLAGS.export)
  print(f'{path}: {path.stat().st_size:,} bytes')


if __name__ == '__main__':
  define_flags()
  command.run(main, ('WORKDIR...',))
