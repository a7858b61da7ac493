"""SFace's file against the runtimes that it is made for."""

import functools

import cv2
import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from backbone_checks import cosines
from defaults import batch_norm, make_network

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.faces import alignment
from faceqat.files import packaged
from faceqat.models.weights import onnx_initializers, sface_onnx
from faceqat.models.weights.pretrained import load_pretrained
from faceqat.quant.spec import FLOAT

MODEL = make_network('mobilenet_v1', norm=batch_norm(momentum=0.9))


@functools.cache
def tensors():
  return onnx_initializers.read_initializers(
    packaged.SFACE.path('another file')
  )


@pytest.fixture(scope='module')
def graph_file(tmp_path_factory):
  """The graph without its weights among its inputs, which no runtime takes."""
  model = onnx.load(packaged.SFACE.path('another file'))
  (image,) = (value for value in model.graph.input if value.name == 'data')
  del model.graph.input[:]
  model.graph.input.append(image)
  path = tmp_path_factory.mktemp('sface') / 'sface.onnx'
  onnx.save(model, path)
  return str(path)


@pytest.fixture(scope='module')
def faces():
  source = SyntheticFaces(4, 1, image_size=112, seed=0)
  return np.stack([source[index]['image'] for index in range(4)])


@pytest.fixture(scope='module')
def embeddings(faces):
  shapes = jax.eval_shape(
    lambda: MODEL.init(jax.random.key(0), faces[:1], FLOAT)
  )
  empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  found = load_pretrained('sface', MODEL, empty)
  assert found.weights == 'OpenCV SFace: RGB, (pixel - 127.5) / 128'
  run = jax.jit(lambda variables, images: MODEL.apply(variables, images, FLOAT))
  return np.float64(run(found.variables, faces))


def test_embeddings_are_those_of_onnx_runtime(embeddings, faces, graph_file):
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  session = onnxruntime.InferenceSession(graph_file, options)
  planes = faces.transpose(0, 3, 1, 2).astype(np.float32)
  wanted = [session.run(None, {'data': image[None]})[0][0] for image in planes]
  # The border is padded with pixel 128 for 127.5; the rest is float32.
  assert cosines(embeddings, np.stack(wanted)).min() > 0.99999
  # What is no constant: other faces are other embeddings.
  assert cosines(embeddings, np.roll(wanted, 1, 0)).max() < 0.95


def test_embeddings_are_those_of_opencv(embeddings, faces, graph_file):
  recognizer = cv2.FaceRecognizerSF.create(graph_file, '')
  wanted = [
    recognizer.feature(np.ascontiguousarray(face[..., ::-1]))[0]
    for face in faces
  ]
  assert cosines(embeddings, np.stack(wanted)).min() > 0.99999


def test_the_crops_are_those_of_opencv(graph_file):
  recognizer = cv2.FaceRecognizerSF.create(graph_file, '')
  # A picture of its own coordinates shows where each pixel comes from.
  y, x = np.mgrid[:240, :240].astype(np.uint8)
  picture = np.stack([x, y, x], -1)
  landmarks = alignment.ARCFACE_TEMPLATE * 1.3 + [40, 30]
  landmarks += [[2, -1], [-1, 2], [1, 1], [0, -2], [-2, 0]]
  row = np.concatenate([[50, 50, 140, 140], landmarks.ravel(), [0.9]])
  theirs = recognizer.alignCrop(picture, row[None].astype(np.float32))
  ours = alignment.align_points(picture, landmarks)
  shift = np.abs(np.float64(ours) - theirs)
  # Both round to whole levels, of 1.3 pixels of the crop each.
  assert shift.max() <= 1
  assert shift.mean() < 0.35


def test_blocks_are_dequantized_as_onnx_does():
  rng = np.random.default_rng(0)
  arrays = {
    'x': rng.integers(-128, 128, (5, 12), np.int8),
    's': rng.uniform(1e-5, 1e-2, (5, 3)).astype(np.float32),
    'z': rng.integers(-128, 128, (5, 3), np.int8),
  }
  node = onnx.helper.make_node(
    'DequantizeLinear', ['x', 's', 'z'], ['y'], axis=1, block_size=4
  )
  output = onnx.helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, None)
  graph = onnx.helper.make_graph(
    [node],
    'blocks',
    [],
    [output],
    [onnx.numpy_helper.from_array(arrays[name], name) for name in arrays],
  )
  opset = onnx.helper.make_opsetid('', 21)
  model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
  session = onnxruntime.InferenceSession(model.SerializeToString())
  found = sface_onnx.dequantize(arrays['x'], arrays['s'], arrays['z'])
  np.testing.assert_array_equal(np.float32(found), session.run(None, {})[0])


def test_a_file_without_blocks_is_read_too():
  blocked = sface_onnx.convert(tensors()).values
  whole = sface_onnx._dequantized(tensors())
  for name, value in sface_onnx.convert(whole).values.items():
    np.testing.assert_array_equal(value, blocked[name])


@pytest.mark.parametrize(
  ('name', 'change', 'message'),
  [
    ('bn1_beta', None, 'lacks the tensors bn1_beta; it has besides none'),
    ('more', np.zeros(1), 'it has besides more'),
    ('conv_3_conv2d_weight_scales', None, 'conv_3_conv2d_weight lacks scales'),
    (
      'conv_3_conv2d_weight_scales',
      np.ones([128, 3], np.float32),
      r'blocks of \[128, 3\] scales .* do not part \[128, 64\] weights',
    ),
    (
      'conv_3_conv2d_weight_shape',
      np.int64([128, 65, 1, 1]),
      r'has 8192 weights, wanted the shape \[128, 65, 1, 1\]',
    ),
  ],
)
def test_another_network_is_refused(name, change, message):
  changed = {**tensors(), name: change}
  if change is None:
    del changed[name]
  with pytest.raises(ValueError, match=message):
    sface_onnx.convert(changed)


def test_a_wrong_file_is_named(tmp_path):
  path = tmp_path / 'other.onnx'
  tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32), 'a')
  graph = onnx.helper.make_graph([], 'graph', [], [], [tensor])
  onnx.save(onnx.helper.make_model(graph), path)
  with pytest.raises(ValueError, match=r'other\.onnx is not of the SFace'):
    sface_onnx.read_sface(path)
