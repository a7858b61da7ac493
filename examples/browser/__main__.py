"""Makes a folder with a page that compares two photographs in a browser.

  python -m examples.browser --model=sface_int8 --out=page

The page finds the faces (YuNet), aligns them, and runs the network's integer
.onnx in onnxruntime-web: the integers are those of the evaluator, and no
photograph leaves the browser. Any server of static files will do.
"""

from absl import flags

from examples.browser import build
from faceqat import command
from faceqat.calibration.packaged_files import NAMES


def define_flags():
  flags.DEFINE_string(
    'model', NAMES[0], 'Packaged network, run folder or program.'
  )
  flags.DEFINE_string('out', None, 'Folder for the page.')
  flags.DEFINE_string(
    'runtime',
    str(build.RUNTIME),
    'Folder of the package onnxruntime-web, as npm installs it.',
  )
  flags.mark_flag_as_required('out')


def main():
  args = flags.FLAGS
  size = build.build(args.model, args.runtime, args.out)
  print(
    f'{args.out} is ready, {size / 1e6:.1f} MB. Serve it, such as with\n'
    f'  python -m http.server --directory={args.out}\n'
    'and open http://localhost:8000'
  )


if __name__ == '__main__':
  define_flags()
  command.run(main)
