"""Numbers, dates and addresses as Java prints them: tools that read four-letter words parse these forms."""

from __future__ import annotations

import ipaddress
import time
from decimal import Decimal
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def hexadecimal(value: int) -> str:
    """A signed 64-bit number as `Long.toHexString` after 0x: ids and zxids have no sign there."""
    return f"0x{value & 0xFFFF_FFFF_FFFF_FFFF:x}"


def double(value: float) -> str:
    """`Double.toString` of `value` rounded to four decimals: 0.0, 0.25, 1.2E7."""
    rounded = round(value, 4)
    if rounded == 0:
        return "0.0"
    if 1e-3 <= abs(rounded) < 1e7:
        return str(float(rounded))
    number = Decimal(repr(float(rounded)))
    exponent = number.adjusted()
    mantissa = f"{number.scaleb(-exponent).normalize():f}"
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{exponent}"


def date(time_ms: int) -> str:
    """`Date.toString` in the machine's time zone: Tue Mar 26 16:50:58 UTC 2019, whatever the locale."""
    at = time.localtime(time_ms // 1000)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_DAYS[at.tm_wday]} {_MONTHS[at.tm_mon - 1]} {at.tm_mday:02} {clock} {at.tm_zone} {at.tm_year}"


def socket_address(host: str, port: int) -> str:
    """`InetSocketAddress.toString` of an address without a name: /127.0.0.1:80, /[0:0:0:0:0:0:0:1]:80."""
    address, percent, scope = host.partition("%")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"/{host}:{port}"  # no address, such as the path of a Unix socket: shown as it is
    if isinstance(parsed, ipaddress.IPv4Address):
        return f"/{parsed}:{port}"
    if parsed.ipv4_mapped is not None:
        return f"/{parsed.ipv4_mapped}:{port}"
    groups = ":".join(f"{int(group, 16):x}" for group in parsed.exploded.split(":"))
    return f"/[{groups}{percent}{scope}]:{port}"
