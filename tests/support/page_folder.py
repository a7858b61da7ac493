"""A folder with what the examples of the Python API name."""

import dataclasses

from PIL import Image
from small_programs import small_program

from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.integer import program as integer_program
from faceqat.integer.tensors import Tensor


def write(folder):
  """Writes drawn photographs, people, and the program of a small network."""
  faces = SyntheticFaces(3, 3, image_size=112, seed=4)
  for index, label in enumerate(faces.labels):
    person = folder / 'people' / faces.class_names[label]
    person.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(faces[index]['image'])
    image.save(person / f'{index % 3}.png')
    name = {2: 'one', 3: 'other', 4: 'photograph'}.get(index)
    if name:
      image.save(folder / f'{name}.jpg')
  program = small_program(image=(112, 112, 3), channels=64)
  embedding = Tensor('embedding', (64,), 0.2, 0)
  program = dataclasses.replace(
    program, tensors={**program.tensors, 'embedding': embedding}
  )
  integer_program.save(program, folder / 'program.safetensors')
  return folder
