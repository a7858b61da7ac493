"""Writers of programs for other runtimes, and runners of what they wrote.

A writer needs the package of its file format, a runner that of the runtime;
TFLite's format comes with LiteRT. Whatever is written is run back and compared
bit for bit before anybody relies on it.
"""
