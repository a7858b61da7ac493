"""The readers of files that come from elsewhere."""

import dataclasses
import functools
import pathlib
import shutil

import numpy as np
import seeds
from harness import Target
from journals import SETTINGS, make_record
from seeds import PNG, SIZE

from faceqat.data.benchmarks import ijb, pair_lists, verification_bin
from faceqat.data.sources import people_file, tf_example, tfds
from faceqat.data.sources.arrayrecord import ArrayRecordSource
from faceqat.data.sources.recordio import RecordIOSource
from faceqat.evaluators import scores
from faceqat.export import exported
from faceqat.faces import fingerprint, images
from faceqat.files import decoding, json_fields, seal
from faceqat.identification import gallery
from faceqat.integer import program as integer_program
from faceqat.models.weights import (
  mxnet_params,
  mxnet_symbol,
  onnx_initializers,
  torch_checkpoint,
)
from faceqat.preparation import archive, journal, tar_archive
from faceqat.report import hardest, run_folder
from faceqat.training import history


def unpack(path: pathlib.Path):
  out = path.with_name('unpacked')
  try:
    archive.unpack(path, out)
  finally:
    shutil.rmtree(out, ignore_errors=True)


def read_tfrecord(path: pathlib.Path):
  with open(path, 'rb') as file:
    for number, offset in enumerate(tfds._scan(str(path))):
      file.seek(offset)
      record = file.read(tfds._read_length(file, str(path), number))
      try:
        tf_example.decode(record)
      # The caller names the file.
      except ValueError as error:
        raise ValueError(f'{path} {error}') from error


def read_images(make_source, path: pathlib.Path):
  source = make_source(path, SIZE)
  for index in range(min(len(source), 10)):
    source[index]


def read_symbol(path: pathlib.Path):
  nodes = mxnet_symbol.read_symbol(path)
  try:
    mxnet_symbol.input_scaling(nodes)
  # The caller names the file.
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


def read_image(path: pathlib.Path):
  images.read_image(path, SIZE)


def read_photograph(path: pathlib.Path):
  try:
    decoding.decode(path)
  except decoding.UnreadableError as error:
    raise ValueError(f'{path} {error}') from error


def read_list(path: pathlib.Path):
  pair_lists.read_list(path.parent, path, SIZE)


def read_journal(path: pathlib.Path):
  journal.Journal(path.parent, SETTINGS)


def close(data: bytes) -> bytes:
  """Fills in the digest, unless its zeros were changed."""
  return seal.close(data) if seal.BLANK.encode() in data else data


def json_target(name, read, value, file='a.json') -> Target:
  return Target(name, file, read, functools.partial(seeds.json_of, value))


def report_target(name: str, check, value) -> Target:
  def read(path):
    return scores.read_json(path, check)

  return json_target(name, read, value)


def faces() -> dict[str, bytes]:
  return {f'{who}/{who}_000{i}.png': PNG for who in 'AB' for i in (1, 2)}


LFW = seeds.text('2 1', 'A 1 2', 'A 1 B 1', 'B 1 2', 'A 2 B 2')
ONE_LINE = seeds.text(*10 * ('A/A_0001.png A/A_0002.png 1',))
TABLE = seeds.text('a,b,same', *10 * ('A/A_0001.png,B/B_0001.png,0',))
TWO_LINES = seeds.text(
  *20 * ('A_0001.png 1',), *10 * ('A_0001.png 0', 'B_0001.png 0')
)
IJB = {
  'meta/x_face_tid_mid.txt': b'1.jpg 1 1\n2.jpg 2 2',
  'meta/x_name_5pts_score.txt': b'\n'.join(
    b'%d.jpg 1 2 3 4 5 6 7 8 9 10 0.9' % i for i in (1, 2)
  ),
  'meta/x_template_pair_label.txt': b'1 2 0\n1 1 1',
}


def ijb_target(name: str) -> Target:
  return Target(
    f'ijb_{name.rsplit("_", 1)[1]}',
    f'meta/x_{name}.txt',
    lambda path: ijb.read_ijb(path.parents[1], SIZE),
    lambda: [IJB[f'meta/x_{name}.txt']],
    lambda: IJB,
  )


NUMBERS = {'images': 1, 'cosine_mean': 1.0, 'cosine_p1': 1.0}
LAYER = {
  **dict.fromkeys(('lost', 'float_to_fake', 'float_to_integer'), None),
  **{'name': 'a', 'bits': 8, 'range': [0, 1], 'float_range': [0, 1]},
  **{'clipped': 0.0, 'fake_to_integer_differing': 0},
}
EXPORT = {
  **{'contract': None, 'bytes': 1, 'outputs': 1, 'differing': 0},
  **{'largest': 0, 'milliseconds': 0.5},
}

TARGETS = (
  Target('zip', 'a.zip', unpack, seeds.zips),
  Target(
    'tar', 'a.tar', unpack, seeds.tars, unchecked=(tar_archive, '_check_sum')
  ),
  Target('tar_gz', 'a.tar.gz', unpack, seeds.gzips),
  Target(
    'tfrecord',
    'a.tfrecord',
    read_tfrecord,
    seeds.tfrecords,
    unchecked=(tfds, '_compare'),
  ),
  json_target(
    'tfds_features',
    tfds._check_classes,
    {'type': 'tensorflow_datasets.a', 'content': '{"a": [1]}'},
  ),
  Target(
    'recordio',
    'a.rec',
    functools.partial(read_images, RecordIOSource),
    seeds.packs,
  ),
  Target(
    'recordio_index',
    'a.idx',
    lambda path: read_images(RecordIOSource, path.with_suffix('.rec')),
    seeds.indices,
    lambda: {'a.rec': b''.join(seeds.TWO_RECORDS)},
  ),
  Target(
    'array_record',
    'a.array_record',
    functools.partial(read_images, ArrayRecordSource),
    seeds.array_records,
  ),
  Target('bin', 'a.bin', verification_bin.read_bin_entries, seeds.bins),
  Target(
    'torch_zip',
    'a.pth',
    torch_checkpoint.read,
    functools.partial(seeds.torch_files_of, 'zip'),
  ),
  Target(
    'torch_legacy',
    'a.pth',
    torch_checkpoint.read,
    functools.partial(seeds.torch_files_of, 'legacy'),
  ),
  Target(
    'mxnet_params', 'a.params', mxnet_params.read_params, seeds.mxnet_params
  ),
  Target('mxnet_symbol', 'a-symbol.json', read_symbol, seeds.mxnet_symbols),
  Target(
    'onnx_weights',
    'a.onnx',
    onnx_initializers.read_initializers,
    functools.partial(seeds.exported, 'onnx'),
  ),
  Target(
    'program',
    'a.safetensors',
    integer_program.load,
    seeds.programs,
    prepare=close,
  ),
  Target(
    'tflite',
    'a.tflite',
    exported.read_tflite,
    functools.partial(seeds.exported, 'tflite'),
  ),
  Target(
    'onnx',
    'a.onnx',
    exported.read_onnx,
    functools.partial(seeds.exported, 'onnx'),
  ),
  Target(
    'gallery',
    'a.safetensors',
    gallery.load,
    seeds.galleries,
    unchecked=(gallery, '_digest'),
  ),
  json_target(
    'people',
    lambda path: people_file.read_people(path.with_name('a.rec')),
    [['Ann', 1], ['Bob', 2]],
    'a.people.json',
  ),
  json_target(
    'faces',
    lambda path: fingerprint.read(path.parent),
    dataclasses.asdict(fingerprint.Fingerprint('arcface', 112)),
    'faces.json',
  ),
  json_target('manifest', read_journal, SETTINGS, 'manifest.json'),
  Target(
    'journal',
    'journal.jsonl',
    read_journal,
    lambda: [seeds.json_of(make_record())[0] + b'\n'],
    lambda: {'manifest.json': seeds.json_of(SETTINGS)[0]},
  ),
  *(
    Target(f'pairs_{name}', 'a.txt', read_list, lambda list=list: list, faces)
    for name, list in (
      ('lfw', LFW),
      ('one_line', ONE_LINE),
      ('table', TABLE),
      ('two_lines', TWO_LINES),
    )
  ),
  Target(
    'pairs_agedb',
    'a.mat',
    read_list,
    seeds.protocols,
    lambda: {f'{name}.jpg': PNG for name in ('1_a', '2_b', '3_c')},
  ),
  *map(ijb_target, ('face_tid_mid', 'name_5pts_score', 'template_pair_label')),
  Target('crop', 'a.png', read_image, seeds.images),
  Target('photograph', 'a.png', read_photograph, seeds.images),
  report_target(
    'results', json_fields.results, {'float': {'accuracy': 0.5, 'eer': None}}
  ),
  report_target(
    'agreement', json_fields.check_agreement, {**NUMBERS, 'layers': [LAYER]}
  ),
  report_target('exactness', json_fields.check_exactness, {'onnx': EXPORT}),
  Target(
    'metrics',
    'metrics.jsonl',
    lambda path: history.read_curves(path.parent),
    lambda: seeds.text('{"step": 1, "a": 0.5}', '{"step": 2, "a": NaN}', ''),
  ),
  Target(
    'arrays',
    'a.safetensors',
    run_folder._count_parameters,
    lambda: seeds.arrays(**{'params/a/b': np.ones(3), 'params/c': np.ones(2)}),
  ),
  Target(
    'hardest',
    hardest.FILE_NAME,
    lambda path: hardest.load(path.parent),
    seeds.hardest,
  ),
  Target(
    'scores',
    scores.FILE_NAME,
    lambda path: scores.load(path.parent),
    seeds.scores,
  ),
)
