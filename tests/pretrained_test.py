"""A weight file finds its reader by the model, or the user learns which are."""

import flax
import jax
import layer_network
import mxnet_files
import numpy as np
import pytest

from faceqat.models import mobilefacenet, mobilenet_v2
from faceqat.models.import_weights.pretrained import load_pretrained

SHAPE = (32, 32, 3)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  return mxnet_files.Y1(32).save(tmp_path_factory.mktemp('y1'))


def test_all_variables_but_the_ranges_are_the_files(weights):
  model = mobilefacenet.Model()
  variables = layer_network.random_variables(model, SHAPE)
  new = load_pretrained(weights, model, variables)
  assert jax.tree.map(np.shape, new) == jax.tree.map(np.shape, variables)
  before, after = (
    flax.traverse_util.flatten_dict(tree, sep='/') for tree in (variables, new)
  )
  unchanged = {path for path in after if after[path] is before[path]}
  assert unchanged == {path for path in after if path.startswith('quant_stats')}
  for path in after.keys() - unchanged:
    assert not np.array_equal(before[path], after[path]), path


def test_a_model_of_other_sizes_is_refused_with_both_sizes(weights):
  model = mobilefacenet.Model(embedding_size=64)
  variables = layer_network.random_variables(model, (48, 48, 3))
  with pytest.raises(ValueError, match=r'model-0000\.params does') as error:
    load_pretrained(weights, model, variables)
  for shapes in (
    'embedding/kernel (file [512, 128], model [512, 64])',
    'global_depthwise/kernel (file [2, 2, 1, 512], model [3, 3, 1, 512])',
  ):
    assert shapes in str(error.value)


@pytest.mark.parametrize(
  ('model', 'name'),
  [(mobilenet_v2.Model(), 'a.params'), (mobilefacenet.Model(), 'a.caffemodel')],
)
def test_what_nothing_reads_is_refused_and_the_readable_listed(model, name):
  with pytest.raises(
    ValueError, match=rf'{name} cannot .*\.params for mobilefacenet'
  ):
    load_pretrained(name, model, {})
