"""Writers of programs for other runtimes, and runners of what they wrote.

A writer needs nothing but its file format's own package; a runner needs the
runtime. Whatever is written is run back and compared bit for bit before
anybody relies on it.
"""
