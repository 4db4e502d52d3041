"""What the web integrations have in common; hosts import it from them."""

__all__: list[str] = []
