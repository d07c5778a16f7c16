import os

import pytest

from harness import BUILD, Daemon, Demo, call

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


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The Debian packages of this build, by their names."""
    folder = tmp_path_factory.mktemp("packages")
    # Quick to compress: the sizes are not the subject here.
    call("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", folder, "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip")
    return {file.name.split("_")[0]: file for file in folder.glob("*.deb")}
