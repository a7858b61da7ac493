"""ncnn, on phones and boards with a processor or a Vulkan GPU."""

from faceqat.export import ncnn
from faceqat.export.targets import float_files
from faceqat.export.targets.target import Target
from faceqat.files import atomic


def _run(program, folder):
  for name, content in ncnn.convert(folder / float_files.ONNX).items():
    atomic.write(folder / name, content)
  run = ncnn.make_runner(folder)
  return lambda images: run(float_files.pixels(images))


TARGET = Target(
  promise='the network in float with folded norms, as ONNX and as the files '
  'that pnnx makes of it, and ranges for its own quantization',
  write=float_files.write,
  run=_run,
  made=(ncnn.PARAM, ncnn.BIN),
)
