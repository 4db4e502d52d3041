"""Real-time speech for Python: typed engines, middleware and conversations."""
