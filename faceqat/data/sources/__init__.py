"""Labelled images of people: folders, packs in one file, and TFDS."""

from faceqat.data.sources.arrayrecord import ArrayRecordSource
from faceqat.data.sources.recordio import RecordIOSource

# By suffix of the file.
PACKS = {'.rec': RecordIOSource, '.array_record': ArrayRecordSource}
