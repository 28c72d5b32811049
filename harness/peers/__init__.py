"""Real, independent servers that the broker is tested against, one per file.

Each is a context manager that binds loopback on a free port, waits until the
server answers, and stops it by its own process id.
"""
