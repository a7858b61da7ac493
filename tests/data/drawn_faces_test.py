"""A network for drawn faces meets others."""

from aligned_faces import ARCFACE, MARGIN, SIZE, write_pairs
from tiny_run import make_config

from faceqat.data import stated_faces
from faceqat.faces import fingerprint
from faceqat.faces.fingerprint import Fingerprint
from faceqat.training.checkpoint import load_network


def test_a_run_of_drawn_faces_says_so_and_warns_of_others(
  quantized_run, tmp_path
):
  network = load_network(str(quantized_run[0]))
  drawn = fingerprint.of_run(network.config)
  assert drawn == Fingerprint('drawn', SIZE)
  config = make_config().eval
  paths = [
    str(write_pairs(tmp_path / f'{name}.bin', faces))
    for name, faces in (('a', ARCFACE), ('b', MARGIN), ('c', drawn))
  ]
  config.path = ','.join(paths[:2])
  (note,) = stated_faces.check_evaluation(config, drawn, 'net', image_size=SIZE)
  assert note.startswith(
    f'WARNING: net was trained on drawn faces, and {paths[0]} does not say'
  )
  config.path = paths[2]
  assert not stated_faces.check_evaluation(
    config, drawn, 'net', image_size=SIZE
  )
