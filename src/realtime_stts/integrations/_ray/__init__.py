"""What is behind `realtime_stts.integrations.ray`."""

__all__: list[str] = []
