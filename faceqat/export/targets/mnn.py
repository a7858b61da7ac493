"""MNN, on phones with a processor or a GPU."""

from faceqat.export import mnn
from faceqat.export.targets import float_files
from faceqat.export.targets.target import Target
from faceqat.files import atomic


def _run(program, folder):
  atomic.write(folder / mnn.FILE, mnn.convert(folder / float_files.ONNX))
  run = mnn.make_runner(folder / mnn.FILE, program.input, program.output)
  return lambda images: run(float_files.pixels(images))


TARGET = Target(
  promise='the network in float with folded norms, as ONNX and as the file '
  'that its converter makes of it, and ranges for its own quantization',
  write=float_files.write,
  run=_run,
  made=(mnn.FILE,),
)
