# SPDX-License-Identifier: MIT
"""Maintenance hatches inside a Python app.

    from hatchkit import hatch

    @hatch
    def rebuild_index(shop: str, limit: int = 100):
        "Rebuild the search index of one shop."
        ...

makes the hatch `rebuild-index`, served on the Unix socket of this process (`python -m hatchkit` lists it, hatchd shows
it as `app.rebuild-index`). Standard library only; one daemon thread that sleeps until somebody asks; nothing here
raises into the app or keeps it from ending.
"""
from .registry import Secret, hatch, hatches
from .server import start, status, stop
from .version import PROTOCOL, __version__

__all__ = ["PROTOCOL", "Secret", "__version__", "hatch", "hatches", "start", "status", "stop"]
