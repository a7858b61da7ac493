from small_programs import PROGRAM

from benchmarks import first_embedding
from faceqat.integer import program as integer_program


def test_a_new_process_embeds_one_image(tmp_path, monkeypatch, capsys):
  path = tmp_path / 'program.safetensors'
  integer_program.save(PROGRAM, path)
  monkeypatch.setattr(
    first_embedding.flags, 'FLAGS', type('Flags', (), {'rounds': 1})
  )
  firsts = []
  embed = first_embedding.first_embedding
  monkeypatch.setattr(
    first_embedding,
    'first_embedding',
    # XLA, which the other column waits for, is what other tests compile with.
    lambda model, first: firsts.append(first) or (first and embed(model, 1)),
  )
  first_embedding.main(str(path))
  printed = capsys.readouterr().out
  assert firsts == [1, 0]
  assert printed.startswith('import faceqat: 0.')
  *_, seconds, at_once = printed.splitlines()[-1].split()
  assert float(seconds) > 0 == float(at_once)
