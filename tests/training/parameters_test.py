import numpy as np

from faceqat.training.parameters import write_parameters


def test_every_array_is_listed_and_all_are_counted(tmp_path):
  params = {
    'backbone': {
      'stem': {'kernel': np.zeros((3, 3, 3, 8), np.float32)},
      'embedding': {'bias': np.zeros(1000, np.float32)},
    },
    'classifier': {'weights': np.zeros((16, 12), np.float32)},
  }
  line = write_parameters(params, tmp_path)
  path = tmp_path / 'parameters.txt'
  assert line == (
    '1,216 parameters in the network, 192 in the objective; they are listed '
    f'in {path}'
  )
  rows = [
    [cell.strip() for cell in row.split('|')[1:-1]]
    for row in path.read_text().splitlines()
    if row.startswith('|')
  ]
  assert [row[0] for row in rows[1:]] == [
    'backbone/embedding/bias',
    'backbone/stem/kernel',
    'classifier/weights',
  ]
  assert rows[2][1:] == ['(3, 3, 3, 8)', 'float32', '216']
  assert path.read_text().endswith('Total: 1,408 -- 5,632 bytes\n')


def test_an_objective_may_have_none(tmp_path):
  params = {'backbone': {'bias': np.zeros(2)}, 'classifier': {}}
  assert '2 parameters in the network, 0 in' in write_parameters(
    params, tmp_path
  )
