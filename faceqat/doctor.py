"""Says what faceqat finds here: versions, devices, runtimes.

  python -m faceqat.doctor

Of all packages only JAX is imported, to ask for its devices. What is missing or
of another version than faceqat was tested with is marked with an exclamation
mark.
"""

import importlib.metadata
import os
import pathlib
import platform
import re
from collections.abc import Iterator

from faceqat import command, compilation_cache
from faceqat.files import folders

# What is not in the requirements, and what it is for.
_OPTIONAL = {
  'tflite-micro': 'TFLM, LiteRT for microcontrollers: convert --target=tflm',
  'ethos-u-vela': "Vela, for Arm's Ethos-U: convert --target=ethos-u",
  'openvino': 'convert --target=openvino and openvino-qdq',
  'mediapipe': 'convert --target=mediapipe',
  'ncnn': 'convert --target=ncnn, which needs pnnx as well',
  'pnnx': 'makes the files of --target=ncnn',
  'mnn': 'convert --target=mnn',
  'torch': 'PyTorch, to compare with; its weight files are read without it',
  'tensorflow': "reads TensorFlow's checkpoints",
  'tensorflow-datasets': 'data sets tfds:NAME',
  'pillow-heif': 'HEIC photographs',
}
# Of a processor, what makes integers or floats fast.
_FEATURES = (
  *('sse4_2', 'avx', 'avx2', 'fma', 'avx512f', 'avx512_vnni', 'avx_vnni'),
  *('amx_int8', 'asimd', 'asimddp', 'i8mm', 'sve'),
)
# Linux says there what a processor is.
CPUINFO = pathlib.Path('/proc/cpuinfo')
_ROOT = pathlib.Path(__file__).parents[1]
STATUSES = {
  **command.STATUSES,
  0: 'all that is required is there',
  1: 'something required is missing or of another version',
}


def main() -> int:
  wrong = False
  for title, lines in (
    ('faceqat', _platform()),
    ('required', _requirements()),
    ('optional', _optional()),
    ('processor', _processor()),
    ('devices', _devices()),
    ('memory', _allocator()),
    ('compiled programs', _cache()),
  ):
    print(f'{title}:')
    for line in lines:
      print(f'  {line}', flush=True)
      wrong |= line.startswith('!')
  return int(wrong)


def _version(distribution: str) -> str | None:
  try:
    return importlib.metadata.version(distribution)
  except importlib.metadata.PackageNotFoundError:
    return None


def _platform() -> Iterator[str]:
  installed = _version('faceqat')
  yield f'{installed or "not installed, a checkout"}: {_ROOT / "faceqat"}'
  yield f'Python {platform.python_version()} on {platform.platform()}'


def _wanted() -> list[str]:
  """The requirements, as name==version, of the checkout or the installed."""
  file = _ROOT / 'requirements.txt'
  if file.exists():
    return file.read_text().splitlines()
  found = importlib.metadata.requires('faceqat') or []
  return [line for line in found if 'extra ==' not in line]


def _requirements() -> Iterator[str]:
  fitting = []
  for line in _wanted():
    match = re.match(r'([\w-]+)==([\w.]+)', line)
    if not match:
      continue
    name, wanted = match.groups()
    version = _version(name)
    if version == wanted:
      fitting.append(f'{name} {version}')
    elif version is None:
      yield f'! {name} {wanted} is missing; pip install {name}=={wanted}'
    else:
      yield f'! {name} is {version}, tested with {wanted}'
  yield f'as tested: {", ".join(fitting)}'


def _optional() -> Iterator[str]:
  for name, purpose in _OPTIONAL.items():
    yield f'{name:20} {_version(name) or "-":10} {purpose}'


def _processor() -> Iterator[str]:
  text = CPUINFO.read_text() if CPUINFO.exists() else ''
  model = re.search(r'^model name\s*: (.*)', text, re.MULTILINE)
  flags = re.search(r'^(?:flags|Features)\s*: (.*)', text, re.MULTILINE)
  yield (
    f'{model[1] if model else platform.processor() or platform.machine()}, '
    f'{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores usable'
    if hasattr(os, 'sched_getaffinity')
    else f'{platform.machine()}, {os.cpu_count()} cores'
  )
  if flags:
    have = [name for name in _FEATURES if name in flags[1].split()]
    yield f'features: {" ".join(have) or "none that is used"}'


def _devices() -> Iterator[str]:
  try:
    import jax

    devices = jax.devices()
  except (ImportError, RuntimeError) as error:
    yield f'! JAX finds no device: {str(error).splitlines()[0]}'
    return
  for kind in dict.fromkeys((d.platform, d.device_kind) for d in devices):
    count = sum((d.platform, d.device_kind) == kind for d in devices)
    yield f'{count} {kind[0]} ({kind[1]})'


def _allocator() -> Iterator[str]:
  library, version = platform.libc_ver()
  own = os.environ.get('GLIBC_TUNABLES')
  if library != 'glibc':
    yield f'{library or "not glibc"}: the allocator stays as it is'
  elif own is None:
    yield f'glibc {version}: train restarts under {command.TUNABLES}'
  else:
    yield f'glibc {version} under GLIBC_TUNABLES={own}, which stays'
  pages = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')
  if pages.exists():
    yield f'huge pages of the kernel: {pages.read_text().strip()}'


def _cache() -> Iterator[str]:
  # Where a command keeps them, as it starts.
  folder = os.environ.get('JAX_COMPILATION_CACHE_DIR')
  if folder:
    files = compilation_cache.entries(pathlib.Path(folder))
    megabytes = sum(path.stat().st_size for path in files) / 2**20
    yield f'{megabytes:.0f} MB in {folder}'
  else:
    yield 'not kept'
  for path in sorted(folders.cache_folder().glob('*.safetensors')):
    yield f'integer program: {path}'


if __name__ == '__main__':
  command.run(main, statuses=STATUSES, loads=False)
