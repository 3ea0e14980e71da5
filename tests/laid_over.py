"""Arguments of a command, each key once: a key that is given twice is refused."""

from __future__ import annotations


def laid_over(first: list[str] | tuple[str, ...], *later: str) -> list[str]:
    """``first`` without the keys that ``later`` gives anew, then ``later``."""
    keys = {word.partition("=")[0] for word in later}
    return [*(word for word in first if word.partition("=")[0] not in keys), *later]
