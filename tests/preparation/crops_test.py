import numpy as np
import prepare_inputs
import pytest
from PIL import Image

from faceqat.faces import alignment, detection
from faceqat.preparation import crops, listing

ARCFACE = crops.CropSettings('arcface', 112, 'largest')


def make(tmp_path, faces=1, name='Ann/1.jpg'):
  prepare_inputs.make_photograph(tmp_path / 'in' / name, 0, faces)
  return listing.list_photographs(tmp_path / 'in')


def crop(tmp_path, found, settings=ARCFACE, detect=prepare_inputs.detect):
  return crops.crop_photograph(
    settings, detect, found.root, found.photographs[0], tmp_path / 'out'
  )


def files(tmp_path):
  return sorted(p.name for p in (tmp_path / 'out').rglob('*') if p.is_file())


def test_a_face_is_cut_out_as_its_landmarks_say(tmp_path):
  found = make(tmp_path)
  record = crop(tmp_path, found)
  assert (record['status'], record['faces']) == ('found', 1)
  assert [c['file'] for c in record['crops']] == ['Ann/1.jpg']
  image = np.asarray(Image.open(tmp_path / 'in/Ann/1.jpg'))
  face = prepare_inputs.detect(image)[0]
  expected = alignment.align_points(image, face.landmarks)
  written = np.asarray(Image.open(tmp_path / 'out/Ann/1.jpg'), np.int32)
  # JPEG of quality 95 with full colours: a mean error below one step in 256.
  assert np.abs(written - expected).mean() < 1
  assert record['crops'][0]['box'] == face.box.tolist()


@pytest.mark.parametrize(
  ('alignment_name', 'size', 'shape'),
  [
    ('arcface', 96, (96, 96)),
    ('sphereface', (56, 48), (56, 48)),
    ('margin', 160, (160, 160)),
    ('margin', (80, 64), (80, 64)),
  ],
)
def test_crops_have_the_size_asked_for(alignment_name, size, shape, tmp_path):
  settings = crops.CropSettings(alignment_name, size, 'largest')
  crop(tmp_path, make(tmp_path), settings)
  written = np.asarray(Image.open(tmp_path / 'out/Ann/1.jpg'))
  assert written.shape == (*shape, 3)


def test_a_size_of_other_proportions_than_the_template_is_refused_at_once():
  with pytest.raises(ValueError, match='arcface is for 112x112 and sphereface'):
    crops.CropSettings('sphereface', 112, 'largest')
  with pytest.raises(ValueError, match='size is 0, wanted'):
    crops.CropSettings('margin', 0, 'largest')


def test_a_photograph_without_a_face_is_missed(tmp_path):
  record = crop(tmp_path, make(tmp_path, faces=0))
  assert (record['status'], record['reason']) == ('missed', 'no face was found')
  assert record['crops'] == []


def test_one_of_many_faces_is_taken_and_said_to_be_unclear(tmp_path):
  record = crop(tmp_path, make(tmp_path, faces=3))
  assert (record['status'], record['faces']) == ('ambiguous', 3)
  assert files(tmp_path) == ['1.jpg']


def test_all_faces_are_numbered(tmp_path):
  settings = crops.CropSettings('arcface', 112, 'all')
  record = crop(tmp_path, make(tmp_path, faces=3), settings)
  assert record['status'] == 'found'
  assert files(tmp_path) == ['1.face1.jpg', '1.face2.jpg', '1.face3.jpg']


def test_a_corrupt_photograph_is_unreadable(tmp_path):
  make(tmp_path)
  (tmp_path / 'in/Ann/1.jpg').write_bytes(b'\xff\xd8 no photograph')
  record = crop(tmp_path, listing.list_photographs(tmp_path / 'in'))
  assert record['status'] == 'unreadable'
  assert 'Ann/1.jpg' in record['reason']


def test_landmarks_in_one_place_are_a_miss(tmp_path):
  def detect(image):
    return [detection.Face(np.array([1, 1, 9, 9]), np.ones([5, 2]), 0.9)]

  record = crop(tmp_path, make(tmp_path), detect=detect)
  assert record['status'] == 'missed'
  assert 'span no face' in record['reason']


def test_a_template_has_the_name_of_its_fingerprint():
  assert ARCFACE.template == 'arcface'
  narrow = crops.CropSettings('sphereface', (112, 96), 'largest')
  assert narrow.template == 'sphereface'
  assert crops.CropSettings('margin', 160, 'all').template == 'margin_32'


def test_processes_do_what_one_does(tmp_path):
  """Real workers with the real detector, which finds nothing in blots."""
  for name in ('1.jpg', '2.jpg', '3.jpg'):
    found = make(tmp_path, name=f'Ann/{name}')
  (tmp_path / 'in/Ann/2.jpg').write_bytes(b'')
  found = listing.list_photographs(tmp_path / 'in')
  records = [
    sorted(
      crops.crop_photographs(
        ARCFACE, found.root, found.photographs, tmp_path / 'out', workers
      ),
      key=lambda record: record['photograph'],
    )
    for workers in (1, 2)
  ]
  assert records[0] == records[1]
  assert [r['status'] for r in records[0]] == ['missed', 'unreadable', 'missed']
