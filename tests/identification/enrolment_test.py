import numpy as np
import pytest

from faceqat import progress
from faceqat.identification import embedders, enrolment, gallery
from faceqat.identification.face_files import Entry, LeftOut


def make_embedder(predict=None):
  """A network that gives the top left pixel, as integers."""
  return embedders.Embedder(
    predict or (lambda images: images[:, 0, 0].astype(np.int16)),
    image_size=4,
    stored_size=0,
    precision='integer',
    fingerprint=None,
    network=None,
    digest=lambda batch_size: '0' * 64,
    checked=True,
  )


def make_face(value):
  face = np.zeros([4, 4, 3], np.uint8)
  face[0, 0], face[0, 3] = value, 1
  return face


def fail():
  raise ValueError('7.jpg cannot be decoded')


def test_all_faces_of_all_images_are_embedded_with_their_mirror_images():
  entries = [
    Entry(f'Ann/{i}.jpg', 'Ann', lambda i=i: [make_face(i)]) for i in range(20)
  ]
  entries[3] = Entry('two.jpg', None, lambda: [make_face(50), make_face(60)])
  entries[7] = Entry('7.jpg', 'Bob', fail)
  # A batch of two: faces of one image are in different batches.
  faces = enrolment.embed_faces(
    make_embedder(), entries, 'probes', 2, [LeftOut('x', 'y')]
  )
  assert len(faces.names) == len(faces.people) == len(faces.pictures) == 20
  assert faces.names[3:5] == ['two.jpg', 'two.jpg#2']
  assert faces.people[3:6] == [None, None, 'Ann']
  # The pixel, and that of the mirror image.
  assert faces.templates[:6, 0].tolist() == [1, 2, 3, 51, 61, 5]
  assert faces.left_out == [
    ('x', 'y'),
    ('7.jpg', '7.jpg cannot be decoded'),
  ]
  for index in (0, 4, 19):
    picture = faces.pictures[index]()
    assert picture[0, 0, 0] + 1 == faces.templates[index, 0]
    assert (faces.digests[index] == gallery.digest_image(picture)).all()


def test_nothing_to_embed_is_no_error(capsys):
  faces = enrolment.embed_faces(make_embedder(), [], 'gallery', 2)
  assert not faces.names
  assert len(faces.templates) == len(faces.digests) == 0
  assert not capsys.readouterr().out


def test_how_far_it_is_is_printed(monkeypatch, capsys):
  monkeypatch.setattr(progress, '_SECONDS_PER_LINE', 0.0)
  entries = [Entry(str(i), None, lambda: [make_face(1)]) for i in range(20)]
  enrolment.embed_faces(make_embedder(), entries, 'probes', 2)
  printed = capsys.readouterr()
  lines = printed.err.splitlines()
  assert any(line.startswith('probes 8/20  ') for line in lines)
  assert printed.out == 'probes: 20 faces in 20 images\n'


def test_a_network_that_has_diverged_is_an_error():
  broken = make_embedder(lambda images: np.full([len(images), 3], np.nan))
  entry = Entry('a', None, lambda: [make_face(1)])
  with pytest.raises(ValueError, match='not finite'):
    enrolment.embed_faces(broken, [entry], 'probes', 1)
