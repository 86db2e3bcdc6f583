"""Values as TOML has them, on one line; pure."""

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ("literal",)


def literal(value: Any) -> str:
    """Return *value* as it stands after ``=`` in TOML, or in ``--set PATH=``.

    Args:
        value: Text, numbers, booleans, lists and tables of these.

    Raises:
        TypeError: TOML has no such value, such as None.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's too, but for pairs of surrogates, which stay out.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(k)} = {literal(v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _key(key: object) -> str:
    text = str(key)
    plain = text.replace("-", "").replace("_", "")
    return text if plain.isascii() and plain.isalnum() else literal(text)
