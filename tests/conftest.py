"""What all tests share: those marked `thorough` are for CI, or for who asks for them."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a plain run short enough to be run before every change."""
    if os.environ.get("CI") or "thorough" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    if left_out and len(left_out) < len(items):  # who names such a test alone wants it
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
