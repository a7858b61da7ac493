import pytest
import torch_files as files
from torch_files import by_hand, read

from faceqat.models.weights.torch_pickle import Storage, StoredTensor
from faceqat.models.weights.torch_state import find_network


@pytest.mark.parametrize(
  'names',
  [
    ['state_dict'],
    ['model'],
    ['net_state_dict'],
    ['model', 'state_dict'],
    ['whatever'],
  ],
)
def test_the_network_is_found_where_it_lies(tmp_path, names):
  def wrap(tensor):
    value = files.ordered({'module.conv.weight': tensor})
    for name in reversed(names):
      # A mean beside it, as training programs keep them, is not a weight.
      beside = {'best': tensor} if name == 'state_dict' else {}
      value = files.mapping({'epoch': files.plain(3), name: value, **beside})
    return value

  assert set(read(tmp_path, by_hand('zip', wrap))) == {'conv.weight'}


def test_a_usual_name_goes_before_others(tmp_path):
  def wrap(tensor):
    parts = {
      name: files.mapping({f'{name}.weight': tensor})
      for name in ('head', 'backbone', 'ema')
    }
    return files.mapping(parts)

  assert set(read(tmp_path, by_hand('zip', wrap))) == {'backbone.weight'}


@pytest.mark.parametrize(
  ('names', 'stripped'),
  [
    (['module.a', 'module.b.c'], ['a', 'b.c']),
    (['module._orig_mod.a'], ['a']),
    (['_orig_mod.module.a'], ['a']),
    (['module.a', 'b'], ['module.a', 'b']),
    (['model.a'], ['model.a']),
  ],
)
def test_wrappers_names_are_taken_off_where_all_have_them(
  tmp_path, names, stripped
):
  def wrap(tensor):
    return files.ordered(dict.fromkeys(names, tensor))

  assert list(read(tmp_path, by_hand('zip', wrap))) == stripped


def test_several_networks_without_a_usual_name_are_listed(tmp_path):
  def wrap(tensor):
    parts = {
      name: files.mapping({'weight': tensor}) for name in ('teacher', 'student')
    }
    return files.mapping(parts)

  with pytest.raises(ValueError, match=r"net\.pth .*'student', 'teacher'"):
    read(tmp_path, by_hand('zip', wrap))


@pytest.mark.parametrize(
  'value',
  [
    files.plain([1, 2]),
    files.plain({'epoch': 3}),
    files.plain({}),
    # A dictionary that is its own network.
    b'}q\x00' + files.plain('model') + b'h\x00s',
  ],
)
def test_files_without_a_network_say_what_they_have(tmp_path, value):
  with pytest.raises(ValueError, match=r'net\.pth has no state dictionary'):
    read(tmp_path, files.zip_file(value, {}))


def test_a_dictionary_that_is_shared_is_looked_through_once():
  class Counted(dict):
    looks = 0

    def items(self):
      Counted.looks += 1
      return super().items()

  inner = Counted({'lr': 0.1})
  content = {f'group{i}': {'model': inner, 'net': inner} for i in range(100)}
  content['state_dict'] = {
    'weight': StoredTensor(Storage('0', 'f4', 1), 0, (1,), (1,))
  }
  assert list(find_network(content, 'net.pth')) == ['weight']
  assert Counted.looks == 1


def test_a_callback_s_class_is_its_name_and_cannot_be_called(tmp_path):
  callback = files.named(
    'pytorch_lightning.callbacks.model_checkpoint', 'ModelCheckpoint'
  )

  def wrap(tensor):
    # As Lightning kept them before 1.5.
    states = b'}' + callback + files.plain({'best': 0.9}) + b's'
    network = files.ordered({'model.conv.weight': tensor})
    return files.mapping({'callbacks': states, 'state_dict': network})

  assert set(read(tmp_path, by_hand('zip', wrap))) == {'model.conv.weight'}
  with pytest.raises(ValueError, match=r'net\.pth .* calls a str'):
    read(tmp_path, files.zip_file(files.call(callback), {}))
