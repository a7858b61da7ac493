"""Times the integer evaluator and its competitors, in ms per image.

  python -m benchmarks.integer_evaluator --model=mobilenet_v2

The competitors are

* the float forward pass of the network
* LiteRT with XNNPACK on the exported int8 file
* ONNX Runtime on the QDQ file

XNNPACK has no int8 kernel for PReLU. For a network with PReLUs, LiteRT also
runs a file in which they only rescale, to time everything else. --prelu=sum
gives them the form that XNNPACK runs.

Before, the evaluator is compared with its reference form: XLA's convolutions,
the general rescaling, the same bits.

The network has random weights, and batch norms and ranges from one batch. It is
lowered for 112x112 images. All run in turns, on images that stay in memory.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import lax
from ml_collections import ConfigDict

from benchmarks import timing
from benchmarks import training_task as task
from configs import common
from configs.models import MODELS
from faceqat import command
from faceqat.calibration.lower import lower
from faceqat.compilation import jit_integers
from faceqat.evaluators.predict import make_predict
from faceqat.export import litert, onnx_qdq, onnx_runtime, tflite
from faceqat.integer import kernels, multipliers
from faceqat.integer.arithmetic import multiply_by_quantized_multiplier
from faceqat.integer.evaluator import make_evaluator
from faceqat.integer.operators import Conv2D, PReLU, Requantize, SumPReLU
from faceqat.integer.program import IntegerProgram
from faceqat.models.build import make_model
from faceqat.models.network import Network
from faceqat.quant.spec import FLOAT, Mode

# Instruction sets on which the ratios depend.
FEATURES = ('avx2', 'avx512f', 'avx512_vnni', 'amx_int8')


def make_network(
  name: str, depth_multiplier: float, prelu: str = 'operator'
) -> Network:
  """Returns an untrained network with the statistics that lowering needs."""
  block = task.make_model_block(name)
  block.depth_multiplier = depth_multiplier
  # The moving statistics become those of the one batch.
  block.norm.momentum = 0.0
  quant = common.int8()
  quant.default.prelu = prelu
  config = ConfigDict(
    {
      'model': block,
      'quant': quant,
      'data': {'image_size': task.IMAGE_SIZE},
    }
  )
  model = make_model(config)
  images = jnp.asarray(task.make_batch(8)[0])
  variables = jax.jit(model.init, static_argnums=2)(
    jax.random.key(0), images, FLOAT
  )
  observe = Mode(train=True, observe=True)
  _, observed = jax.jit(
    lambda variables: model.apply(
      variables,
      images,
      observe,
      mutable=['batch_stats', 'quant_stats'],
      rngs={'dropout': jax.random.key(0)},
    )
  )(variables)
  return Network(model, variables | observed, config, step=0)


def make_reference_form(program: IntegerProgram) -> Callable:
  """The evaluator with XLA's convolutions and the general rescaling."""

  def conv2d(operator, value, source, output):
    padded = kernels.pad(value, operator.padding, source.zero_point)
    total = lax.conv_general_dilated(
      padded,
      operator.weights,
      operator.strides,
      'VALID',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=source.shape[2] if operator.depthwise else 1,
      preferred_element_type=jnp.int32,
    )
    scaled = multiply_by_quantized_multiplier(
      total + operator.folded_bias(source).astype(np.int32),
      *multipliers.weighted_multipliers(operator.weight_scale, source, output),
    )
    return kernels.to_int8(scaled + output.zero_point, *operator.clamp)

  @jax.jit
  def evaluate(images):
    pixels = lax.bitcast_convert_type(images ^ np.uint8(128), jnp.int8)
    values = {program.input: pixels}
    for operator in program.operators:
      inputs = program.inputs_of(operator)
      output = program.tensors[operator.output]
      arrays = [values[name] for name in operator.inputs]
      values[operator.output] = (
        conv2d(operator, arrays[0], inputs[0], output)
        if isinstance(operator, Conv2D)
        else kernels.compute(operator, arrays, inputs, output)
      )
    return values[program.output]

  return evaluate


def without_prelu(program: IntegerProgram) -> IntegerProgram:
  """The program with a rescaling in place of each PReLU: another network."""
  return dataclasses.replace(
    program,
    operators=tuple(
      Requantize(name=operator.name, inputs=operator.inputs)
      if isinstance(operator, (PReLU, SumPReLU))
      else operator
      for operator in program.operators
    ),
  )


def make_precisions(
  network: Network, program: IntegerProgram, threads: int
) -> dict[str, Callable]:
  """Returns functions from images [B, H, W, 3] uint8 to embeddings, by name."""
  delegated = dataclasses.replace(program, contract='xnnpack')
  onnx_run = onnx_runtime.make_runner(
    onnx_qdq.to_model(program).SerializeToString(), threads=threads
  )

  def only_output(run):
    def embed(images):
      (embeddings,) = run(np.asarray(images)).values()
      return embeddings

    return embed

  def in_litert(program):
    content = tflite.to_bytes(program)
    return only_output(litert.make_runner(content, 'xnnpack', threads=threads))

  precisions = {
    'integer': jit_integers(make_evaluator(program)),
    'float': make_predict(network.model, network.variables, FLOAT),
    'LiteRT XNNPACK': in_litert(delegated),
    'ONNX Runtime QDQ': only_output(onnx_run),
  }
  if any(isinstance(operator, PReLU) for operator in program.operators):
    precisions['LiteRT, no PReLU'] = in_litert(without_prelu(delegated))
  return precisions


def check(evaluate: Callable, program: IntegerProgram):
  """Checks the embeddings of the integer evaluator, on one image.

  Raises:
    ValueError: they are not int8, almost constant, or not those of the
      reference form.
  """
  images = jnp.asarray(task.make_batch(1)[0])
  embeddings = evaluate(images)
  if embeddings.dtype != jnp.int8:
    raise ValueError(
      f'the integer precision gives {embeddings.dtype}, not int8'
    )
  if np.ptp(np.asarray(embeddings, np.int32)) < 100:
    raise ValueError('the integer precision is almost constant')
  if not jnp.array_equal(embeddings, make_reference_form(program)(images)):
    raise ValueError('the reference form gives other integers')


def measure(precisions, batch_size: int, rounds: int) -> dict[str, list[float]]:
  """Returns the seconds of each precision in each round."""
  images = jnp.asarray(task.make_batch(batch_size)[0])

  def run(embed):
    jax.block_until_ready(embed(images))

  passes = {
    name: functools.partial(run, embed) for name, embed in precisions.items()
  }
  return timing.interleave(passes, rounds, settle=True)


def main():
  args = flags.FLAGS
  timing.limit_threads(args.threads)
  network = make_network(args.model, args.depth_multiplier, args.prelu)
  program = lower(network)
  precisions = make_precisions(network, program, args.threads)
  check(precisions['integer'], program)
  print(f'{args.model}, PReLU {args.prelu}, {args.threads} threads')
  print(timing.processor(FEATURES))
  print(timing.allocator())
  for batch_size in map(int, args.batch_sizes):
    times = measure(precisions, batch_size, args.rounds)
    print(f'batch {batch_size:<13} ms per image   integer / it', flush=True)
    for name, seconds in times.items():
      milliseconds = 1e3 * statistics.median(seconds) / batch_size
      ratio = timing.median_ratio(times['integer'], seconds)
      print(f'  {name:18}{milliseconds:13.2f}{ratio:15.2f}', flush=True)


if __name__ == '__main__':
  timing.define_flags(rounds=21)
  flags.DEFINE_enum('model', 'mobilenet_v2', sorted(MODELS), 'Network.')
  flags.DEFINE_enum(
    'prelu', 'operator', ('operator', 'sum'), 'Form of its PReLUs.'
  )
  flags.DEFINE_float(
    'depth_multiplier', 1.0, 'Share of its blocks.', lower_bound=0.0
  )
  flags.DEFINE_list('batch_sizes', '1,32', 'Images at a time, each measured.')
  command.restart_with_tuned_allocator()
  command.run(main)
