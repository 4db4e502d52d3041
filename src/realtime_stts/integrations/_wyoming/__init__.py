"""What is behind `realtime_stts.integrations.wyoming`."""

__all__: list[str] = []
