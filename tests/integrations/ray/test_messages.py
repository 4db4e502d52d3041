"""What travels between an edge and a replica arrives as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime_stts.audio import AudioData
from realtime_stts.engines._isolated_frames import Message
from realtime_stts.integrations._ray._messages import joined_sound, packed, split_sound, unpacked

CHUNKS = st.builds(
    lambda n_frames, rate, channels: AudioData(
        bytes(range(256))[: n_frames * 2 * channels], rate, channels, "pcm_s16le"
    ),
    st.integers(0, 60),
    st.sampled_from([8_000, 16_000, 48_000]),
    st.integers(1, 2),
)


@given(st.lists(CHUNKS, max_size=5))
def test_sound_that_travels_together_is_cut_as_it_was(chunks: list[AudioData]) -> None:
    assert split_sound(unpacked(*packed(joined_sound(chunks)))) == chunks


def test_a_message_is_text_and_bytes() -> None:
    message = Message({"do": "item", "n": 1, "ü": [None, 2.5]}, b"\x00\xff")
    header, payload = packed(message)
    assert (type(header), type(payload)) == (str, bytes)
    assert unpacked(header, payload) == message
