"""What a refusal says, word by word."""

import re

import pytest


def refused(error, message):
    return pytest.raises(error, match=re.escape(message))
