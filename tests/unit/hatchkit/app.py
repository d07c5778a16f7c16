"""The app of the tests: plain Python with threads, and hatches of every bad sort."""
import os
import sys
import time

import hatchkit.logging
import hatchkit.runtime

Secret, hatch = hatchkit.Secret, hatchkit.hatch


@hatch(effect="observe")
def echo(text: str):
    "Give the text back"
    return text


@hatch
def fail():
    raise RuntimeError("on purpose \ud800 \x1b[31m")


@hatch
def leave():
    "End the app, or try to"
    sys.exit(3)


@hatch(timeout=0.3)
def forever():
    print("before")
    while True:
        time.sleep(0.05)


@hatch
def prints(megabytes: int = 3):
    for _ in range(megabytes * 1024):
        print("x" * 1023)
    return "done"


@hatch
def odd():
    class Rude:
        def __repr__(self):
            raise ValueError("no")

    loop = []
    loop.append(loop)
    return {
        "set": {1},
        "bytes": b"\xff",
        "nan": float("nan"),
        "big": 2**70,
        "rude": Rude(),
        "loop": loop,
        "surrogate": "\udcff",
        3: "key",
        "long": "y" * 3_000_000,
        "many": range(10),
        "list": list(range(100_000)),
        "function": echo,
    }


@hatch(name="rebuild-index", role="operator")
def rebuild(shop: str, limit: int = 100, *, deep: bool = False, key: Secret = Secret("")):
    """Rebuild the index of one shop.

    Takes minutes.

    Args:
        shop: which shop,
            by its name
        limit (int): at most so many
    """
    return [shop, limit, deep, os.getpid()]


@hatch(timeout=5)
def fork():
    "A child with a socket of its own"
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    return child


@hatch
def unusable(*anything):
    "Cannot be described, so it is left out and the app starts"


if __name__ == "__main__":
    print(os.getpid(), flush=True)
    sys.stdin.read()  # until the test lets go
