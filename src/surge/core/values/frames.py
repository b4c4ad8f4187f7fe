"""The frames and series of pandas: what stands under their tags, and back."""

from __future__ import annotations

import sys

from .arrays import KINDS, numpy_here
from .keys import shown
from .wire import FRAME, SERIES, ValueRefused, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EXTENSION_TYPES = frozenset(
    ["object", "string", "str", "boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64"]
)


def _column(values: Any) -> Any:
    """A pandas column or index as an array, or as [dtype name, values] where NumPy has no such type."""
    dtype = values.dtype
    if type(dtype).__module__.startswith("numpy") and dtype.kind in KINDS:
        return values.to_numpy()
    name = str(dtype)
    if name not in _EXTENSION_TYPES:
        instead = "use tz_convert(None), which gives UTC" if hasattr(dtype, "tz") else "convert it with astype"
        raise ValueRefused(f"a pandas column of {name} is not data: {instead}")
    if name == "object":
        return [name, values.tolist()]
    return [name, [None if gone else item for item, gone in zip(values.tolist(), values.isna().tolist(), strict=True)]]


def _index(index: Any) -> Any:
    pandas = sys.modules["pandas"]
    if type(index) is pandas.RangeIndex:
        return [index.name, index.start, index.stop, index.step]
    if isinstance(index, pandas.MultiIndex):
        raise ValueRefused("a pandas MultiIndex is not data: use reset_index()")
    return [index.name, _column(index)]


def _check_attrs(value: Any) -> None:
    if value.attrs:
        raise ValueRefused("a pandas object with attrs is not data: send them beside it")


def _encode_frame(value: Any) -> tuple[int, Any]:
    columns = []
    for place, name in enumerate(value.columns):
        try:
            columns.append(_column(value.iloc[:, place]))
        except ValueRefused as refused:
            refused.steps.append(f"[{shown(name)}]")
            raise
    parts = [_index(value.index), _index(value.columns), columns]
    _check_attrs(value)
    return FRAME, parts


def _encode_series(value: Any) -> tuple[int, Any]:
    parts = [_index(value.index), value.name, _column(value)]
    _check_attrs(value)
    return SERIES, parts


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ValueRefused("a pandas value came, and pandas is not installed here: pip install pandas") from None
    return pandas


def _decode_column(value: Any) -> Any:
    if type(value) is list:
        name, items = expect(value, str, list)
        if name not in _EXTENSION_TYPES:
            raise ValueRefused(f"{name!r:.80} is no type of a pandas column")
        return _pandas().array(items, dtype=name)
    if type(value) is not numpy_here().ndarray or value.ndim != 1 or value.dtype.fields is not None:
        raise ValueRefused("a pandas column is an array of one dimension")
    return value


def _decode_index(value: Any) -> Any:
    pandas = _pandas()
    if type(value) is list and len(value) == 4:
        name, start, stop, step = expect(value, object, int, int, int)
        return pandas.RangeIndex(start, stop, step, name=name)
    name, described = expect(value, object, object)
    column = _decode_column(described)
    return pandas.Index(column, dtype=column.dtype, name=name, tupleize_cols=False)


def _series(described: Any, index: Any, name: Any = None) -> Any:
    column = _decode_column(described)
    return _pandas().Series(column, dtype=column.dtype, index=index, name=name)


def _decode_pandas(decode: Any, value: Any) -> Any:
    try:
        return decode(value)
    except ValueRefused:
        raise
    except Exception as error:  # pandas checks what it is given, and has errors of its own for it
        raise ValueRefused(f"pandas cannot make this: {type(error).__name__}: {error!s:.200}") from None


def _decode_frame(value: Any) -> Any:
    described, names, columns = expect(value, object, object, list)
    index, labels = _decode_index(described), _decode_index(names)
    if len(labels) != len(columns):
        raise ValueRefused("a frame has one name for each column")
    frame = _pandas().DataFrame({place: _series(column, index) for place, column in enumerate(columns)}, index=index)
    frame.columns = labels
    return frame


def _decode_series(value: Any) -> Any:
    described, name, column = expect(value, object, object, object)
    return _series(column, _decode_index(described), name)


LATER = (("pandas", "DataFrame", _encode_frame), ("pandas", "Series", _encode_series))
READERS: dict[int, Any] = {
    FRAME: lambda value: _decode_pandas(_decode_frame, value),
    SERIES: lambda value: _decode_pandas(_decode_series, value),
}
