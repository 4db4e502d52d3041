"""What is behind `realtime_stts.integrations.openai`."""

__all__: list[str] = []
