"""The types of datetime, and time zones: what stands under their tags, and back."""

from __future__ import annotations

import datetime
import sys

from .wire import DATE, DATETIME, TIME, TIMEDELTA, TIMEZONE, ValueRefused, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _zone(zone: Any) -> Any:
    if zone is None:
        return None
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        return [offset.days, offset.seconds, offset.microseconds, zone.tzname(None)]
    zoneinfo = sys.modules.get("zoneinfo")
    if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo and type(zone.key) is str:
        return zone.key
    raise ValueRefused(f"the time zone {type(zone).__name__} is not data: use datetime.timezone or zoneinfo.ZoneInfo")


def _encode_datetime(value: datetime.datetime) -> tuple[int, Any]:
    parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold]
    return DATETIME, [*parts, _zone(value.tzinfo)]


def _encode_time(value: datetime.time) -> tuple[int, Any]:
    return TIME, [value.hour, value.minute, value.second, value.microsecond, value.fold, _zone(value.tzinfo)]


def _decode_zone(value: Any) -> datetime.tzinfo:
    if type(value) is str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, OSError):
            raise ValueRefused(f"the time zone {value!r:.80} is not known here: pip install tzdata") from None
    if type(value) is list and len(value) == 4 and type(value[3]) is str:
        offset = _decode_timedelta(value[:3])
        plain = datetime.timezone(offset)
        return plain if plain.tzname(None) == value[3] else datetime.timezone(offset, value[3])
    raise ValueRefused("a time zone is a name or an offset")


def _decode_datetime(value: Any) -> datetime.datetime:
    year, month, day, hour, minute, second, micro, fold, zone = expect(value, *(int,) * 8, object)
    return datetime.datetime(year, month, day, hour, minute, second, micro, None if zone is None else _decode_zone(zone), fold=fold)


def _decode_time(value: Any) -> datetime.time:
    hour, minute, second, micro, fold, zone = expect(value, *(int,) * 5, object)
    return datetime.time(hour, minute, second, micro, None if zone is None else _decode_zone(zone), fold=fold)


def _decode_timedelta(value: Any) -> datetime.timedelta:
    days, seconds, micros = expect(value, int, int, int)
    if not (0 <= seconds < 86400 and 0 <= micros < 1_000_000):
        raise ValueRefused("a timedelta is not in its normal form")
    return datetime.timedelta(days, seconds, micros)


WRITERS: dict[type, Any] = {
    datetime.datetime: _encode_datetime,
    datetime.date: lambda value: (DATE, [value.year, value.month, value.day]),
    datetime.time: _encode_time,
    datetime.timedelta: lambda value: (TIMEDELTA, [value.days, value.seconds, value.microseconds]),
    datetime.timezone: lambda value: (TIMEZONE, _zone(value)),
}
LATER = (("zoneinfo", "ZoneInfo", lambda value: (TIMEZONE, _zone(value))),)
READERS: dict[int, Any] = {
    DATETIME: _decode_datetime,
    DATE: lambda value: datetime.date(*expect(value, int, int, int)),
    TIME: _decode_time,
    TIMEDELTA: _decode_timedelta,
    TIMEZONE: _decode_zone,
}
