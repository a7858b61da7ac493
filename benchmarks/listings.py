"""Measures what opening a training set of millions of people takes.

  python -m benchmarks.listings

Makes each set in a temporary folder, with one image for each person: a folder
of people, a RecordIO pack with its index, an ArrayRecord with the file of its
people, and one without, whose records are all read for their labels. The images
are of a few bytes, as opening a set reads none. Prints, of a new process that
opens it, the seconds and the MB of memory of its own (not of mapped files): at
the peak, and what the open set holds; and what labels and names alone are, at
four bytes a label and eight a name beside its letters.
"""

import concurrent.futures
import gc
import multiprocessing
import pathlib
import tempfile
import threading
import time

import numpy as np
from absl import flags
from array_record.python.array_record_module import ArrayRecordWriter

from benchmarks import page_tables
from faceqat import command
from faceqat.data.sources import PACKS, people_file, tf_example
from faceqat.data.sources.folder import FolderSource

_RECORD = np.dtype(
  [
    ('magic', '<u4'),
    ('length', '<u4'),
    ('flag', '<u4'),
    ('label', '<f4'),
    ('id', '<u8'),
    ('id2', '<u8'),
    ('image', '<u4'),
  ]
)
# Records that are made at a time.
_BLOCK = 100_000


def main():
  kinds = {
    'folder': (_make_folder, flags.FLAGS.folders),
    'RecordIO': (_make_recordio, flags.FLAGS.people),
    'ArrayRecord': (_make_array_record, flags.FLAGS.people),
    'ArrayRecord, people in the records': (_make_examples, flags.FLAGS.folders),
  }
  titles = ('', 'people', 'seconds', 'MB, peak', 'MB, open', 'MB, least')
  page_tables.print_titles(titles)
  for kind, (make, people) in kinds.items():
    with tempfile.TemporaryDirectory(dir=flags.FLAGS.folder) as folder:
      path = make(pathlib.Path(folder), people)
      spawn = multiprocessing.get_context('spawn')
      with concurrent.futures.ProcessPoolExecutor(1, spawn) as process:
        cells = process.submit(_open, path).result()
      # Millions of files take minutes to remove.
      page_tables.print_row((kind, f'{people:,}', *cells))


def _make_folder(folder, people):
  for number in range(people):
    person = folder / str(number)
    person.mkdir()
    (person / '0.jpg').touch()
  return folder


def _make_recordio(folder, people):
  path = folder / 'train.rec'
  lines = []
  with open(path, 'wb') as file, open(folder / 'train.idx', 'w') as index:
    for start in range(0, people, _BLOCK):
      keys = np.arange(start, min(start + _BLOCK, people))
      records = np.zeros(len(keys), _RECORD)
      records['magic'], records['length'] = 0xCED7230A, _RECORD.itemsize - 8
      records['label'] = records['id'] = keys
      lines = [f'{key}\t{key * _RECORD.itemsize}\n' for key in keys.tolist()]
      records.tofile(file)
      index.writelines(lines)
  return path


def _make_array_record(folder, people):
  path = folder / 'train.array_record'
  _write_records(path, (b'image' for _ in range(people)))
  # As `people_file.write_people` has it.
  with open(people_file.path_of(path), 'w') as file:
    file.write('[\n')
    for number in range(people):
      end = '' if number + 1 == people else ','
      file.write(f'[\n"{number:07d}",\n1\n]{end}\n')
    file.write(']\n')
  return path


def _make_examples(folder, people):
  path = folder / 'train.array_record'
  _write_records(
    path,
    (tf_example.encode(b'image', n, f'{n:07d}') for n in range(people)),
  )
  return path


def _write_records(path, records):
  writer = ArrayRecordWriter(str(path), 'group_size:1,uncompressed')
  for record in records:
    writer.write(record)
  writer.close()


def _open(path) -> tuple[str, ...]:
  """Cells of the table; in a process of its own."""
  source_of = PACKS.get(path.suffix, FolderSource)
  before = peak = _own_bytes()
  done = threading.Event()

  def watch():
    nonlocal peak
    while not done.wait(0.01):
      peak = max(peak, _own_bytes())

  watcher = threading.Thread(target=watch)
  watcher.start()
  start = time.perf_counter()
  source = source_of(path, 112)
  seconds = time.perf_counter() - start
  done.set()
  watcher.join()
  gc.collect()
  after = _own_bytes()
  letters = sum(map(len, source.class_names))
  least = 4 * len(source) + 8 * len(source.class_names) + letters
  sizes = (max(peak, after) - before, after - before, least)
  return f'{seconds:.1f}', *(f'{size / 1e6:,.0f}' for size in sizes)


def _own_bytes() -> int:
  """Bytes of this process that are not of files."""
  status = pathlib.Path('/proc/self/status').read_text()
  (line,) = (x for x in status.splitlines() if x.startswith('RssAnon:'))
  return 1024 * int(line.split()[1])


if __name__ == '__main__':
  flags.DEFINE_integer('people', 10**7, 'Of a pack.', lower_bound=2)
  flags.DEFINE_integer(
    'folders', 10**6, 'People of a folder, or in records.', lower_bound=2
  )
  flags.DEFINE_string('folder', None, 'Where sets are made; none: /tmp.')
  command.run(main)
