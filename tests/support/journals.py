"""The settings and a record of a journal of `prepare`."""

SETTINGS = {'alignment': 'arcface', 'size': 112}


def make_record(number=1):
  return {
    'photograph': f'Ann/{number}.jpg',
    'crop': f'Ann/{number}',
    'size': 100,
    'modified': 5,
    'crops': [],
  }
