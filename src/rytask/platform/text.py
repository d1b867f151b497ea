"""Patterns of text that people type."""

_BREAKS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"

ONE_LINE = rf"^[^{_BREAKS}]*[^\s{_BREAKS}][^{_BREAKS}]*$(?!\n)"
"""One line, not blank: no control characters and no line separators, which would end a header."""

BREAK = rf"[{_BREAKS}]"
"""A control character or a line separator."""
