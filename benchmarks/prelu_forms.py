"""Times MobileFaceNet in LiteRT's default by the form of its PReLUs.

  python -m benchmarks.prelu_forms

'operator' is the runtimes' PRELU, which XNNPACK does not take; 'sum' is made of
operators that it takes; 'none' has a rescaling in place of each PReLU, which is
another network: what everything else takes. All run in turns on one image, the
network being untrained. `parts` are XNNPACK's parts of the graph.
"""

import dataclasses
import functools
import statistics

import numpy as np
from absl import flags

from benchmarks import timing
from benchmarks import training_task as task
from benchmarks.integer_evaluator import make_network, without_prelu
from faceqat import command
from faceqat.calibration.lower import lower
from faceqat.export import litert, tflite
from faceqat.integer.operators import PReLU, SumPReLU
from faceqat.integer.program import IntegerProgram
from faceqat.report.table import Table

_MODEL = 'mobilefacenet'


def with_operators(program: IntegerProgram) -> IntegerProgram:
  """The program with a PRELU, of slopes of 1/4, in place of each sum."""

  def prelu(operator):
    alpha = np.full(operator.weights.shape, 32, np.int8)
    return PReLU(
      name=operator.name,
      inputs=operator.inputs,
      alpha=alpha,
      alpha_scale=1 / 128,
    )

  return dataclasses.replace(
    program,
    operators=tuple(
      prelu(x) if isinstance(x, SumPReLU) else x for x in program.operators
    ),
  )


def make_files(depth_multiplier: float) -> dict[str, bytes]:
  """A file for each form, and one without PReLUs."""
  network = make_network(_MODEL, depth_multiplier, 'sum')
  program = dataclasses.replace(lower(network), contract='xnnpack')
  programs = {
    'operator': with_operators(program),
    'sum': program,
    'none': without_prelu(program),
  }
  return {name: tflite.to_bytes(x) for name, x in programs.items()}


def count_parts(content: bytes) -> int:
  """How many parts of a graph LiteRT gives to XNNPACK."""
  from ai_edge_litert import interpreter

  loaded = interpreter.Interpreter(model_content=content)
  loaded.allocate_tensors()
  operators = [x['op_name'] for x in loaded._get_ops_details()]
  return operators.count('DELEGATE')


def main():
  args = flags.FLAGS
  images, _ = task.make_batch(1)
  files = make_files(args.depth_multiplier)
  rows = {name: [name, f'{count_parts(files[name])}'] for name in files}
  titles = ['PReLU', 'parts']
  for threads in (1, 2):
    passes = {
      name: functools.partial(
        litert.make_runner(content, 'xnnpack', threads=threads), images
      )
      for name, content in files.items()
    }
    titles += [f'{threads} threads: least ms', 'median ms']
    for name, seconds in timing.interleave(passes, args.rounds).items():
      for figure in (min(seconds), statistics.median(seconds)):
        rows[name].append(f'{1e3 * figure:.2f}')
  print(Table(titles, list(rows.values())))


if __name__ == '__main__':
  flags.DEFINE_integer('rounds', 200, 'Timed passes of each.', lower_bound=1)
  flags.DEFINE_float(
    'depth_multiplier', 1.0, 'Share of its blocks.', lower_bound=0.0
  )
  command.run(main)
