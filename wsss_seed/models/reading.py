"""What every reader of weights says when it cannot read them."""


def one_line(error: BaseException) -> str:
    """The first sentence of an error, on one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:200]
