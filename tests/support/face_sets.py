"""Data sets of faces in every form, whose pixels say which image each is."""

import pickle

from pictures import filled
from recordio_files import frame, payload

from configs import common
from faceqat.data.sources.arrayrecord import ArrayRecordWriter

SIZE = 16
PEOPLE, IMAGES = 30, 6


def encode(person, image, size=SIZE):
  """An image whose pixels say which one it is."""
  return filled((person, image, 0), size)


def who(image):
  return int(image[0, 0, 0]), int(image[0, 0, 1])


def write_folder(root, people=PEOPLE, size=SIZE):
  for person in range(people):
    folder = root / f'p{person:02d}'
    folder.mkdir(parents=True)
    for image in range(IMAGES):
      name = f'p{person:02d}_{image + 1:04d}.png'
      (folder / name).write_bytes(encode(person, image, size))
  return root


def write_pack(path):
  records = (
    frame(payload(person, encode(person, image)))
    for person in range(PEOPLE)
    for image in range(IMAGES)
  )
  path.write_bytes(b''.join(records))
  return path


def write_records(path):
  with ArrayRecordWriter(path) as writer:
    for person in range(PEOPLE):
      for image in range(IMAGES):
        writer.write(encode(person, image), person, f'p{person:02d}')
  return path


def write_bin(path, same=(True, False) * 10, size=SIZE):
  images = [encode(i, i % IMAGES, size) for i in range(2 * len(same))]
  path.write_bytes(pickle.dumps((images, list(same)), protocol=2))
  return path


def write_list(root, people):
  """pairs.txt: two folds of two same and two different pairs."""
  names = [f'p{person:02d}' for person in people]
  lines = ['2 2']
  for a, b in (names[:2], names[2:4]):
    lines += [f'{a} 1 2', f'{b} 1 2', f'{a} 1 {b} 1', f'{a} 2 {b} 2']
  path = root / 'pairs.txt'
  path.write_text('\n'.join(lines))
  return path


FORMS = [
  (write_folder, 'faces'),
  (write_pack, 'faces.rec'),
  (write_records, 'faces.array_record'),
]


def data_config(**changes):
  config = common.data()
  config.update(
    image_size=SIZE,
    num_people=PEOPLE,
    images_per_person=IMAGES,
    validation_people=20,
    validation_pairs=40,
    holdout_images_per_person=1,
  )
  config.update(changes)
  return config


def eval_config(**changes):
  config = common.evaluation()
  config.update(num_people=20, images_per_person=4, num_pairs=40)
  config.update(changes)
  return config


def images_of(source):
  return [source[index]['image'] for index in range(len(source))]


def pair_images(pair_set):
  return [pair_set.images[index] for index in range(len(pair_set.images))]
