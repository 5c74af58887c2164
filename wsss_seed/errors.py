"""The errors a user sees as one line."""


class WsssError(Exception):
    """Unusable input or wrong usage. The message is one line: what is wrong, the file, and the remedy."""


class ImageError(WsssError):
    """One image cannot be read or seeded; the others are not affected."""
