"""What holds for every backbone, in the shape that its own test asks for."""

import types

import flax
import integer_oracle as oracle
import jax
import jax.numpy as jnp
import layer_network
import numpy as np
import pytest
import tflm_check
from jaxpr_walk import forbidden_types

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.integer import operators as ops
from faceqat.integer.evaluator import make_evaluator
from faceqat.quant.spec import FAKE_QUANT, FLOAT, Mode

EPSILON = 1e-3


# An untrained network of fifty layers is chaotic: a last bit anywhere turns
# the embedding around. With small scales and a bias most units stay on, and
# noise does not grow, as in a trained network.
CALM = {'scale': 0.45, 'bias': 1.0}


def prepare(model, image_size: int) -> types.SimpleNamespace:
  """Calibrates and lowers a model; each of its precisions compiles once here.

  Args:
    model: with `norm.momentum` 0 and 8-bit weights.
    image_size: of 8 drawn faces and 4 images of random pixels.
  """
  faces = SyntheticFaces(4, 2, image_size)
  images = np.stack([faces[i]['image'] for i in range(len(faces))])
  noise = np.random.default_rng(1).integers(
    0, 256, (4, *images.shape[1:]), np.uint8
  )
  images = np.concatenate([images, noise])
  shape = images.shape[1:]
  variables = layer_network.random_variables(model, shape, **CALM)
  variables = layer_network.calibrate(model, variables, images)
  program = layer_network.lower(model, variables, shape)
  evaluate = make_evaluator(program, taps=True)
  values = jax.jit(evaluate)(images)
  return types.SimpleNamespace(
    model=model,
    images=images,
    variables=variables,
    program=program,
    integers={name: np.asarray(value) for name, value in values.items()},
    run_fake=jax.jit(lambda v: model.apply(v, images, FAKE_QUANT)),
    run_float=jax.jit(lambda v: model.apply(v, images, FLOAT)),
  )


def check_integers_equal_the_oracle(backbone):
  expected = oracle.run(backbone.program, backbone.images)
  assert expected.keys() == backbone.integers.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(backbone.integers[name], value, err_msg=name)
  embedding = expected[backbone.program.output]
  # A network that answers the same to everything would prove nothing.
  assert len(np.unique(embedding, axis=0)) == len(backbone.images)


def check_tflm_has_the_integers(backbone):
  """Every tensor of one image, and the embeddings of all."""
  tflm_check.check_integers(
    backbone.program,
    backbone.images,
    {name: value[:1] for name, value in backbone.integers.items()},
    backbone.integers[backbone.program.output],
  )


def check_program_has_no_float(backbone):
  evaluate = make_evaluator(backbone.program)
  assert forbidden_types(evaluate, backbone.images) == set()


def integer_embedding(backbone):
  output = backbone.program.tensors[backbone.program.output]
  steps = np.float64(backbone.integers[output.name]) - output.zero_point
  return output.scale * steps


def cosines(a, b):
  a, b = np.float64(a), np.float64(b)
  norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
  return np.sum(a * b, -1) / norms


def check_every_output_quantizer_matters(backbone):
  """One range per tensor of the program, and each reaches the embedding."""
  ranges = flax.traverse_util.flatten_dict(backbone.variables['quant_stats'])
  names = {'/'.join(path[:-2]) for path in ranges}
  # What is flattened or picked out of a tensor is quantized as that is.
  kept = ('image', 'flatten', 'subsample')
  tensors = backbone.program.tensors
  assert names == {n for n in tensors if n.split('/')[-1] not in kept}
  before = np.asarray(backbone.run_fake(backbone.variables))
  for path, observed in ranges.items():
    narrower = observed._replace(
      minimum=observed.minimum / 2, maximum=observed.maximum / 2
    )
    stats = flax.traverse_util.unflatten_dict({**ranges, path: narrower})
    after = backbone.run_fake({**backbone.variables, 'quant_stats': stats})
    assert not np.array_equal(after, before), path


def _snapped(kernel, factor, per_channel):
  """Moves weights to the middle of their step, but the widest ones."""
  folded = np.float64(kernel) * factor
  axes = tuple(range(folded.ndim - 1)) if per_channel else None
  widest = np.abs(folded).max(axes)
  position = folded / (widest / 127)
  nearest = np.rint(position)
  # The widest ones set the step; and nothing may cross a tie.
  stays = (np.abs(folded) > 0.999 * widest) | (
    np.abs(position - nearest) > 0.49
  )
  moved = nearest * (widest / 127) / factor
  return np.where(stays, kernel, moved).astype(np.float32)


def check_every_kernel_is_quantized(backbone):
  """Moving weights within their steps changes the float embedding alone."""
  params = flax.traverse_util.flatten_dict(backbone.variables['params'])
  stats = flax.traverse_util.flatten_dict(backbone.variables['batch_stats'])
  params = jax.tree.map(np.asarray, params)
  moved = {}
  for path, value in params.items():
    if path[-1] == 'kernel':
      var = np.asarray(stats[*path[:-1], 'bn', 'var'])
      scale = params[*path[:-1], 'bn', 'scale']
      factor = scale / np.sqrt(var + np.float32(EPSILON))
      moved[path] = _snapped(value, factor, per_channel=True)
    elif path[-1] == 'alpha':
      moved[path] = _snapped(value, 1.0, per_channel=False)

  def variables(changed):
    tree = flax.traverse_util.unflatten_dict({**params, **changed})
    return {**backbone.variables, 'params': tree}

  np.testing.assert_array_equal(
    backbone.run_fake(variables(moved)), backbone.run_fake(variables({}))
  )
  before = np.asarray(backbone.run_float(variables({})))
  for path, value in moved.items():
    after = backbone.run_float(variables({path: value}))
    assert not np.array_equal(after, before), path


def check_embeddings_are_close(backbone):
  """Of the precisions; batch norm has taken out what all images share."""
  fake = backbone.run_fake(backbone.variables)
  plain = backbone.run_float(backbone.variables)
  integer = integer_embedding(backbone)
  # Rounded otherwise at some ties, and fifty roundings of what follows.
  assert cosines(fake, integer).min() > 0.98
  assert cosines(fake, integer).mean() > 0.99
  # 8-bit weights and activations on top.
  assert cosines(plain, integer).min() > 0.97
  assert not np.array_equal(fake, plain)


def check_both_sides_are_padded_alike(backbone):
  strides = set()
  for operator in backbone.program.operators:
    if isinstance(operator, ops.Conv2D):
      three = operator.weights.shape[:2] == (3, 3)
      assert operator.padding == (((1, 1),) * 2 if three else ((0, 0),) * 2)
      strides.add((three, operator.strides))
  assert strides == {(True, (1, 1)), (True, (2, 2)), (False, (1, 1))}


def check_gradients_agree(backbone):
  """Of quantization-aware and of float training, by all parameters."""
  model, images = backbone.model, backbone.images
  shape = images.shape[1:]
  variables = layer_network.random_variables(model, shape, **CALM)
  target = np.random.default_rng(4).normal(
    0, 1, (len(images), model.embedding_size)
  )

  def gradient(mode):
    def loss(params):
      y, _ = model.apply(
        {**variables, 'params': params},
        images,
        mode,
        mutable=['batch_stats', 'quant_stats'],
      )
      return jnp.sum(jnp.square(y - target))

    return jax.jit(jax.grad(loss))(variables['params'])

  plain = gradient(Mode(train=True))
  quantized = gradient(Mode(train=True, quantize=True, observe=True))
  flat = [
    np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    for tree in (plain, quantized)
  ]
  # A range that clips or a kernel without gradient gives far less.
  assert cosines(*flat) > 0.95
  for path, leaf in jax.tree_util.tree_leaves_with_path(quantized):
    assert np.any(leaf != 0), jax.tree_util.keystr(path)


def check_bfloat16_runs(backbone):
  model = backbone.model.clone(dtype=jnp.bfloat16)
  run = jax.jit(lambda v, x: model.apply(v, x, FLOAT))
  embedding = run(backbone.variables, backbone.images)
  assert embedding.dtype == jnp.float32
  assert np.isfinite(embedding).all()
  plain = backbone.run_float(backbone.variables)
  # Eight significant bits, fifty layers.
  assert cosines(embedding, plain).min() > 0.95


_ALWAYS = (
  check_integers_equal_the_oracle,
  check_tflm_has_the_integers,
  check_program_has_no_float,
  check_embeddings_are_close,
)


def each(*more):
  """Runs a test for the `check` that every backbone has to pass, and more."""
  return pytest.mark.parametrize(
    'check', [*_ALWAYS, *more], ids=lambda check: check.__name__
  )
