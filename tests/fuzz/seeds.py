"""Small valid files, from which the fuzzer starts."""

import gzip
import io
import json
import pathlib
import pickle
import tarfile
import tempfile
import zipfile

import mxnet_files
import numpy as np
import safetensors.numpy
import scipy.io
import torch_files
from galleries import make_gallery
from PIL import Image
from recordio_files import MAGIC, frame, payload
from small_programs import PROGRAM

from faceqat.data.sources import tf_example
from faceqat.data.sources.arrayrecord import ArrayRecordWriter
from faceqat.data.sources.crc32c import masked_crc32c
from faceqat.export.formats import FORMATS
from faceqat.files import seal
from faceqat.identification import gallery
from faceqat.integer import program as integer_program

SIZE = 8


def image(kind='PNG', mode='RGB', **options) -> bytes:
  stream = io.BytesIO()
  noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
  # Pillow makes I;16 from grey only.
  source = Image.fromarray(noise).convert('L' if mode == 'I;16' else 'RGB')
  source.convert(mode).save(stream, kind, **options)
  return stream.getvalue()


PNG = image()


def images() -> list[bytes]:
  exif = Image.Exif()
  exif[0x0112] = 6
  kinds = ('PNG', 'JPEG', 'BMP', 'WEBP', 'TIFF', 'GIF', 'PPM', 'JPEG2000')
  return [
    *map(image, kinds),
    image('JPEG', exif=exif),
    image('PNG', 'LA'),
    image('PNG', 'I;16'),
    image('PNG', 'P', transparency=3),
    image('JPEG', 'CMYK'),
  ]


def zips() -> list[bytes]:
  found = []
  for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', compression) as file:
      file.writestr('Ann/1.png', PNG)
      file.writestr('__MACOSX/Ann/._1.png', b'')
    found.append(stream.getvalue())
  return found


def tars() -> list[bytes]:
  found = []
  for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w', format=form) as file:
      other = 'b/2.png' if form == tarfile.USTAR_FORMAT else 60 * 'ä' + '/1.png'
      for name in ('Ann/1.png', other):
        info = tarfile.TarInfo(name)
        info.size = len(PNG)
        file.addfile(info, io.BytesIO(PNG))
    found.append(stream.getvalue())
  return found


def gzips() -> list[bytes]:
  return [gzip.compress(tar, mtime=0) for tar in tars()]


def tfrecords() -> list[bytes]:
  content = b''
  for label in range(2):
    record = tf_example.encode(PNG, label, 'Ann')
    for part in (len(record).to_bytes(8, 'little'), record):
      content += part + masked_crc32c(part).to_bytes(4, 'little')
  return [content]


def packs() -> list[bytes]:
  payloads = [
    payload(0.0, PNG),
    payload([1.0, 2.0], PNG),
    payload(1.0, PNG + MAGIC + b'1234'),
  ]
  return [b''.join(map(frame, payloads))]


TWO_RECORDS = [frame(payload(label, PNG)) for label in (0.0, 1.0)]


def indices() -> list[bytes]:
  return [f'0\t0\n1\t{len(TWO_RECORDS[0])}\n'.encode()]


def array_records() -> list[bytes]:
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'a.array_record'
    with ArrayRecordWriter(path) as file:
      for label in range(2):
        file.write(PNG, label, f'p{label}')
    return [path.read_bytes()]


def bins() -> list[bytes]:
  entries = [PNG, PNG]
  arrays = [np.frombuffer(entry, np.uint8) for entry in entries]
  return [
    pickle.dumps(content, protocol)
    for content in ((entries, [True]), (arrays, np.array([True])))
    for protocol in (0, 2, 5)
  ]


def mxnet_params() -> list[bytes]:
  tensors = {'arg:a': np.ones([2, 3], np.float32), 'aux:b': np.ones(3)}
  return [mxnet_files.params_bytes(tensors, version) for version in range(4)]


def mxnet_symbols() -> list[bytes]:
  nodes = [
    {'op': 'null', 'name': 'data', 'inputs': []},
    {
      'op': '_mul_scalar',
      'name': 'a',
      'inputs': [[0, 0, 0]],
      'attrs': {'scalar': '0.5', 'pad': '(1, 1)'},
    },
    {'op': '_minus_scalar', 'name': 'b', 'inputs': [[1, 0]], 'attrs': {}},
  ]
  return [json.dumps({'nodes': nodes}).encode()]


def torch_files_of(kind: str) -> list[bytes]:
  return [torch_files.by_hand(kind)]


def programs() -> list[bytes]:
  """With zeros for the digest, which `prepare` fills in."""
  mark, zeros = rb'sha256\": \"', seal.BLANK.encode()
  found = []
  # That of earlier versions has a description that is not compressed.
  for write in (integer_program.to_bytes, integer_program.digested_bytes):
    content = write(PROGRAM)
    start = content.index(mark) + len(mark)
    found.append(content[:start] + zeros + content[start + len(zeros) :])
  return found


def galleries() -> list[bytes]:
  found = []
  for int8 in (False, True):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'a.safetensors'
      gallery.save(make_gallery(int8=int8), path)
      found.append(path.read_bytes())
  return found


def exported(name: str) -> list[bytes]:
  """Without digests, as in older files, or every damage would be found."""
  content = FORMATS[name].to_bytes(PROGRAM)
  return [content.replace(b'-sha256:', b'-unknown')]


def arrays(**named) -> list[bytes]:
  return [
    safetensors.numpy.save(named, metadata={'precision': 'a', 'pairs': 'b'})
  ]


def hardest() -> list[bytes]:
  return arrays(
    same=np.array([True, False]),
    pair=np.arange(2),
    score=np.ones(2),
    images=np.zeros([2, 2, SIZE, SIZE, 3], np.uint8),
  )


def scores() -> list[bytes]:
  return arrays(
    **{'cosine/integer': np.ones(4)},
    same=np.array([True, False] * 2),
    fold=np.arange(4) % 2,
    images=np.zeros([4, 2], np.int64),
  )


def text(*lines: str) -> list[bytes]:
  return ['\n'.join(lines).encode()]


def json_of(value) -> list[bytes]:
  return [json.dumps(value).encode()]


def protocols() -> list[bytes]:
  """Those of AgeDB: cells in cells."""
  splits = np.empty([1, 2], object)
  for number in range(2):
    pairs = np.empty([2, 2], object)
    for place, name in zip(np.ndindex(2, 2), ('1_a', '2_b', '1_a', '3_c')):
      pairs[place] = np.array([[name]], object)
    splits[0, number] = pairs
  stream = io.BytesIO()
  scipy.io.savemat(stream, {'splits': splits})
  return [stream.getvalue()]
