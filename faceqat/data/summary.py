"""Lines for the user on the people of a training set."""

from collections.abc import Sequence

from faceqat.faces.made import are_made
from faceqat.files.names import first_few, similar


def summarize(
  everybody, train, known, gone: Sequence[str] = ()
) -> tuple[str, ...]:
  """Counts people trained on and held out; lists files ignored, names alike.

  Args:
    everybody: the whole labelled source.
    train: the part that is trained on.
    known: images of the same people that are not.
    gone: people whom a run held out, and who are in the set no more.
  """
  trained = len(train.class_names)
  line = f'trains on {len(train):,} images of {trained:,} people'
  if num_made := are_made(train).sum():
    line += f'; {num_made:,} of them made of others'
  if held_out := len(everybody.class_names) - trained:
    line += f'; {held_out:,} people held out'
  if len(known):
    line += f'; {len(known):,} images of the trained people held out'
  if ignored := getattr(everybody, 'ignored', []):
    line += f'; ignored: {first_few(ignored, 5)}'
  lines = [*_sets(everybody), line]
  if gone:
    lines.append(
      f'note: {len(gone):,} people whom this run held out are no more there: '
      f'{first_few(gone, 3)}'
    )
  groups = similar(everybody.class_names)
  lines += [
    f'note: {" and ".join(map(repr, group))} are trained as different people; '
    'if they are one, give the folders one name'
    for group in groups[:5]
  ]
  if len(groups) > 5:
    lines.append(f'note: {len(groups) - 5} more names are written alike')
  return tuple(lines)


def _sets(everybody) -> list[str]:
  """The counts of each of several sets, and the names that they share."""
  sets = getattr(everybody, 'sets', [])
  if not sets:
    return []
  each = [
    f'{name} ({images:,} images of {people:,} people)'
    for name, images, people in sets
  ]
  lines = [f'{len(sets)} sets: {", ".join(each)}']
  if everybody.shared:
    # Those apart have longer names.
    merged = {*everybody.shared} <= {*everybody.class_names}
    lines.append(
      f'note: {len(everybody.shared):,} names are in several sets '
      f'({first_few(everybody.shared, 3)}), and '
      + (
        'each is trained as one person; data.same_names=apart keeps them apart'
        if merged
        else 'are trained as different people, set/name; if they are one '
        'person each, give data.same_names=merged'
      )
    )
  return lines
