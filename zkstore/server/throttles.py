"""What a Config says about throttling, as the replica is told it."""

from __future__ import annotations

import random

from zkstore.replica.throttle import Blue, RequestLimits, TokenBucket
from zkstore.server.config import Config


def connections(config: Config) -> TokenBucket:
    """The bucket that sessions take their tokens from."""
    blue = None
    if config.throttle_freeze_ms is not None:
        blue = Blue(
            random.random,
            config.throttle_freeze_ms,
            config.throttle_drop_increase,
            config.throttle_drop_decrease,
            config.throttle_decrease_ratio,
        )
    return TokenBucket(
        config.throttle_tokens,
        config.throttle_fill_ms,
        config.throttle_fill_count,
        new_weight=config.throttle_new_weight if config.throttle_weighs else 1,
        renewed_weight=config.throttle_renewed_weight if config.throttle_weighs else 1,
        local_weight=config.throttle_local_weight if config.throttle_weighs else 1,
        blue=blue,
    )


def requests(config: Config) -> RequestLimits | None:
    """How many requests may be under way; None is no limit."""
    if not config.requests_max:
        return None
    drops_stale = config.drop_stale_requests and config.check_request_age
    return RequestLimits(config.requests_max, config.request_wait_ms_max, drops_stale)
