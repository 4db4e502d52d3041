"""The pictures of `realtime_stts.integrations.notebook`; the command line draws calls with them."""

__all__: list[str] = []
