"""How many tries a test of random input has: the same ones in each run, or as many others as one likes."""

import os
from typing import Any

from hypothesis import HealthCheck, settings

CHECKS: Any = list(HealthCheck)  # of Hypothesis, about time and about how much is left out


def tries(variable: str, usual: int) -> settings:
    """So many tries as the environment's variable says, new ones each time; else the usual number of the same."""
    given = os.environ.get(variable)
    return settings(
        max_examples=int(given or usual),
        deadline=None,
        derandomize=given is None,
        database=None,
        suppress_health_check=CHECKS,
    )
