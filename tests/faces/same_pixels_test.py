"""All readers of images read the same pixels of a file."""

import pickle

import numpy as np
import pytest
from PIL import Image

from faceqat.data.benchmarks import pair_lists, pairs
from faceqat.data.sources import arrayrecord, folder, recordio, recordio_writer
from faceqat.faces import images as face_images
from faceqat.faces import photographs
from faceqat.files import decoding
from faceqat.identification import face_files


def pixels(channels):
  rng = np.random.default_rng(channels)
  return rng.integers(0, 256, (16, 16, channels), np.uint8)


def difficult_images():
  """16x16 pixels in every form that is easily read wrongly, by file name."""
  ramp = np.linspace(0, 2**16 - 1, 256).reshape(16, 16).astype(np.uint16)
  image = Image.fromarray(pixels(3))
  rgba = np.concatenate([pixels(3), pixels(1)], -1)
  exif = Image.Exif()
  exif[0x0112] = 6
  yield 'deep.png', Image.fromarray(ramp), {}
  yield 'deep.tif', Image.fromarray(ramp), {}
  yield 'turned.jpg', image, {'exif': exif}
  yield 'turned.PNG', image, {'exif': exif}
  yield 'clear.png', Image.fromarray(rgba), {}
  yield 'grey_clear.png', Image.fromarray(rgba).convert('LA'), {}
  yield 'palette.gif', image.quantize(16), {}
  yield 'ink.jpeg', image.convert('CMYK'), {}
  yield 'bits.pbm', image.convert('1'), {}
  yield 'moving.webp', image, {'save_all': True, 'append_images': [image] * 2}
  yield 'browser.jfif', image, {'format': 'JPEG'}
  yield 'web.avif', image, {}


# Each gives the image of a file back, as one of those who read data do.
def by_bytes(path, folder_of):
  return face_images.decode_image(path.read_bytes(), path.name, 16)


def by_photograph(path, folder_of):
  return photographs.read_photograph(path)


def by_crop_reader(path, folder_of):
  (image,) = face_files.make_crop_reader(16, 0)(path)
  return image


def by_folder(path, folder_of):
  for person in 'ab':
    (folder_of / person).mkdir()
    (folder_of / person / path.name).write_bytes(path.read_bytes())
  return folder.FolderSource(folder_of, 16)[1]['image']


def by_pack(writer, source, suffix):
  def read_pack(path, folder_of):
    with writer(folder_of / f'train{suffix}') as pack:
      for label in range(2):
        pack.write(path.read_bytes(), label, str(label))
    return source(folder_of / f'train{suffix}', 16)[1]['image']

  return read_pack


def by_bin(path, folder_of):
  content = [path.read_bytes()] * 20, [True] * 10
  (folder_of / 'a.bin').write_bytes(pickle.dumps(content))
  return pairs.read_bin(folder_of / 'a.bin', 16).images[3]


def by_list(path, folder_of):
  lines = [f'{path.name} {path.name} 1'] * 10
  (folder_of / 'pairs.txt').write_text('\n'.join(lines))
  return pair_lists.read_list(path.parent, folder_of / 'pairs.txt', 16).images[
    0
  ]


READERS = {
  'bytes': by_bytes,
  'photograph': by_photograph,
  'crop': by_crop_reader,
  'folder': by_folder,
  'recordio': by_pack(
    recordio_writer.RecordIOWriter, recordio.RecordIOSource, '.rec'
  ),
  'arrayrecord': by_pack(
    arrayrecord.ArrayRecordWriter,
    arrayrecord.ArrayRecordSource,
    '.array_record',
  ),
  'bin': by_bin,
  'list': by_list,
}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', [name for name, _, _ in difficult_images()])
def test_whoever_reads_a_file_sees_the_same_pixels(name, reader, tmp_path):
  image, options = {n: rest for n, *rest in difficult_images()}[name]
  (tmp_path / 'images').mkdir()
  path = tmp_path / 'images' / name
  image.save(path, **options)
  (tmp_path / 'set').mkdir()
  found = READERS[reader](path, tmp_path / 'set')
  np.testing.assert_array_equal(found, np.array(decoding.decode(path)))
  assert not (found == 255).all()
