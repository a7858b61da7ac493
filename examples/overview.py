"""Draws the way from three faces to two decisions, as a program computes it.

  python -m examples.overview --model=runs/mbv2_int8 --out=docs/overview.png

The faces are drawn ones that no network was trained on. Embeddings, scores and
decisions are those of the integer program; the threshold is that of the run's
evaluation.
"""

import json
import pathlib

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from faceqat import command
from faceqat.data.drawn.synthetic import SyntheticFaces
from faceqat.identification import embedders
from faceqat.integer import matching
from faceqat.report import style

# Another seed draws other people than those of the trainings.
_SEED = 1789


def define_flags():
  flags.DEFINE_string('model', None, 'The folder of an evaluated run.')
  flags.DEFINE_string('out', None, 'A picture, .png.')
  flags.mark_flags_as_required(['model', 'out'])


def draw(faces: np.ndarray, embeddings: np.ndarray, threshold: float) -> Figure:
  """The figure.

  Args:
    faces: uint8 [3, H, W, 3]: the one asked for, and two others.
    embeddings: int8 [3, D], with zero point 0.
    threshold: of the cosine.
  """
  figure = Figure(figsize=(10, 3.9), dpi=130)
  grid = figure.add_gridspec(
    3, 4, width_ratios=[1.1, 1.1, 3.2, 1.6], hspace=0.12, wspace=0.08
  )
  titles = (
    'aligned face\nuint8, 112x112x3',
    'integer program',
    f'embedding\nint8, {embeddings.shape[1]} numbers',
    'cosine, in integers',
  )
  for row, (face, embedding) in enumerate(zip(faces, embeddings)):
    cells = [figure.add_subplot(grid[row, column]) for column in range(4)]
    for axes, title in zip(cells, titles):
      axes.set_axis_off()
      if row == 0:
        axes.set_title(title, fontsize=10, color=style.MUTED)
    cells[0].imshow(face)
    _say(cells[1], 'int8 weights\nint32 sums  →', style.MUTED)
    _draw_embedding(cells[2], embedding)
    if row:
      score = int(matching.cosine(embeddings[0], embedding)) / matching.ONE
      same = score >= threshold
      sign, answer = ('≥', 'same person') if same else ('<', 'not the same')
      words = f'{score:.2f} {sign} {threshold:.2f}:\n{answer}'
      _say(cells[3], words, style.COLOURS[2 if same else 1], 'bold')
    else:
      _say(cells[3], 'compared with:', style.MUTED)
  return figure


def _say(axes: Axes, words: str, color: str, weight: str = 'normal'):
  axes.text(
    *(0.5, 0.5, words),
    color=color,
    weight=weight,
    fontsize=11,
    ha='center',
    va='center',
    transform=axes.transAxes,
  )


def _draw_embedding(axes: Axes, embedding: np.ndarray):
  colors = np.where(embedding < 0, style.COLOURS[1], style.COLOURS[0])
  axes.bar(np.arange(len(embedding)), embedding, width=0.8, color=colors)
  axes.axhline(0, color=style.MUTED, linewidth=0.6)
  axes.set_ylim(-128, 127)


def main():
  args = flags.FLAGS
  run = pathlib.Path(args.model)
  results = json.loads((run / 'results.json').read_text())
  embedder = embedders.load(run)
  source = SyntheticFaces(2, 2, embedder.image_size, _SEED)
  faces = np.stack([source[index]['image'] for index in (0, 1, 2)])
  embeddings = np.asarray(embedder.predict(faces)).astype(np.int8)
  figure = draw(faces, embeddings, results['integer_match']['threshold'])
  figure.savefig(args.out, bbox_inches='tight')
  print(args.out)


if __name__ == '__main__':
  define_flags()
  command.run(main)
