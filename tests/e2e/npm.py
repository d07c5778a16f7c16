"""Packages of npm that tests work with."""

import shutil
import subprocess

import pytest

from harness import BUILD


def packages(name, versions):
    """The folder `name` of the build, with these installed in it: {package: version}. Skips the test where there is no npm."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed (./dev test does that)")
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / "node_modules" / package / "package.json").exists() for package in versions):
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact"]
        command += [f"{package}@{version}" for package, version in versions.items()]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        assert made.returncode == 0, made
    return folder
