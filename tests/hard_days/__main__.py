"""The soak as long as one likes: python -m tests.hard_days --steps 20000"""

import argparse

import tests.conftest  # noqa: F401  # which makes devices, ahead of JAX
from tests.hard_days.soak import soak

if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m tests.hard_days", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--restarts", type=int, default=60)
    given = parser.parse_args()
    for name, found in soak(given.steps, given.restarts)._asdict().items():
        print(f"{name}: {found}")
