"""The Python API: `faceqat.load` and what it gives; see docs/python.md."""
