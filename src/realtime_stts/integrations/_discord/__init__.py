"""What is behind `realtime_stts.integrations.discord`."""

__all__: list[str] = []
