"""Where the library meets the world outside: each in a module of its own, with its own extra.

No integration imports another one, and importing this package imports none of them.
"""

__all__: list[str] = []
