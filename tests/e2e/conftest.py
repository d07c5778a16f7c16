import os

import pytest

from harness import Daemon, Demo

# Whoever runs the tests: programs speak English, and no group may change what is written.
os.environ["LC_ALL"] = "C.UTF-8"
os.umask(0o022)


@pytest.fixture(scope="module")
def demo():
    with Demo() as program:
        yield program


@pytest.fixture(scope="module")
def daemon(demo):
    """One daemon for the tests of a file that leave it as it was; with a Unix socket and TCP."""
    with Daemon(demo.pid, tcp=True) as private:
        yield private
