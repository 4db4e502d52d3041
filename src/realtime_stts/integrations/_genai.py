"""The names that OpenTelemetry has for calls of generative models, in this one place.

As in the semantic conventions 1.44 (in Python: opentelemetry-semantic-conventions 0.66b2).
They are in development still, and go on at
https://github.com/open-telemetry/semantic-conventions-genai. They list no operations for
speech; those have names of our own, as the conventions allow.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CONVERSATION_ID",
    "DURATION_BUCKETS",
    "ERROR_TYPE",
    "FIRST_CHUNK_BUCKETS",
    "OPERATIONS",
    "OPERATION_DURATION",
    "OPERATION_NAME",
    "OUTPUT_TYPE",
    "OUTPUT_TYPES",
    "PROVIDER_NAME",
    "REQUEST_STREAM",
    "TIME_TO_FIRST_CHUNK",
    "TIME_TO_FIRST_CHUNK_METRIC",
    "USER_ID",
]

# Attributes.
CONVERSATION_ID: Final = "gen_ai.conversation.id"
ERROR_TYPE: Final = "error.type"
OPERATION_NAME: Final = "gen_ai.operation.name"
OUTPUT_TYPE: Final = "gen_ai.output.type"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_STREAM: Final = "gen_ai.request.stream"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # s
USER_ID: Final = "user.id"

# Metrics.
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"  # s
TIME_TO_FIRST_CHUNK_METRIC: Final = "gen_ai.client.operation.time_to_first_chunk"  # s

# s; the boundaries that the conventions ask for, the second ones for the first token of a server.
DURATION_BUCKETS: Final = tuple(0.01 * 2**n for n in range(14))
FIRST_CHUNK_BUCKETS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)

# Values, by request type.
OPERATIONS: Final = {"stt": "speech_to_text", "tts": "text_to_speech", "response": "chat"}
OUTPUT_TYPES: Final = {"stt": "text", "tts": "speech", "response": "text"}
