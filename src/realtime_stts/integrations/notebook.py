"""Pictures and players for notebooks: ``pip install "realtime-stts[notebook]"``.

    from realtime_stts.integrations.notebook import timeline, waveform

    waveform(clip, words=result.words)
    timeline(call)

Audio, transcriptions, results, turns and chains show themselves where they are a cell's
value, without this. Here is what matplotlib draws of them. Each function returns a
`Picture`, a figure that the cell shows and `pyplot` knows nothing of, so that none is shown
twice and none is kept; with ``ax=``, it draws on those axes and returns them.

There is no microphone here: the one that a kernel could open is its machine's, which for
most notebooks is not where you sit. Record a file and open it with `AudioData.from_file`;
for a program on your own machine there is `realtime_stts.integrations.microphone`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import overload

from ..audio import AudioData
from ..conversation import Event
from ..errors import MissingExtraError
from ..testing import Call

try:
    from IPython.display import Audio
    from matplotlib.axes import Axes
except ImportError as exc:
    raise MissingExtraError("The notebook integration", "notebook") from exc

from ._notebook._charts import Timed, draw_latencies, draw_spectrogram, draw_waveform
from ._notebook._picture import Picture
from ._notebook._recording import of_call, of_events
from ._notebook._timeline import draw_on, fill

__all__ = ["Picture", "latencies", "play", "spectrogram", "timeline", "waveform"]

_WIDTH, _HEIGHT = 960, 600  # of a timeline, in hundredths of an inch
_LEGEND = (
    "Purple: the wait for an answer.  Dots: partial transcripts.  "
    "Hatched: held, because the caller spoke over it."
)


def play(audio: AudioData, *, autoplay: bool = False) -> Audio:
    """A player of the whole clip, however long. All of it is kept in the notebook, as WAV.

    Args:
        audio: Any audio.
        autoplay: Begin as soon as it is shown, where the browser allows that.

    Raises:
        AudioFormatError: It cannot be decoded.
        ValueError: It is empty.
    """
    pcm = audio.decoded()
    if not pcm.data:
        raise ValueError("there is nothing to play: the audio is empty")
    player: Callable[..., Audio] = Audio  # IPython says nothing of its types
    return player(data=pcm.converted().encode("wav"), autoplay=autoplay)


@overload
def waveform(
    audio: AudioData, *, words: Sequence[Timed] = (), title: str | None = None, ax: None = None
) -> Picture: ...
@overload
def waveform(
    audio: AudioData, *, words: Sequence[Timed] = (), title: str | None = None, ax: Axes
) -> Axes: ...
def waveform(
    audio: AudioData,
    *,
    words: Sequence[Timed] = (),
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes | Picture:
    """Amplitude over time, a row for each channel.

    Args:
        audio: Any audio.
        words: Written above their sound, such as ``result.words``; where two have no room,
            the second is left out.
        title: Above it.
        ax: Axes to draw on.

    Raises:
        AudioFormatError: It cannot be decoded.
    """
    return draw_waveform(audio, words, title, ax)


@overload
def spectrogram(
    audio: AudioData,
    *,
    max_frequency: float = 8000.0,
    dynamic_range: float = 70.0,
    title: str | None = None,
    ax: None = None,
) -> Picture: ...
@overload
def spectrogram(
    audio: AudioData,
    *,
    max_frequency: float = 8000.0,
    dynamic_range: float = 70.0,
    title: str | None = None,
    ax: Axes,
) -> Axes: ...
def spectrogram(
    audio: AudioData,
    *,
    max_frequency: float = 8000.0,
    dynamic_range: float = 70.0,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes | Picture:
    """How loud each frequency is over time: Hann windows of 25 ms, all channels mixed.

    Args:
        audio: Any audio.
        max_frequency: Hz; half the sample rate if that is less.
        dynamic_range: dB below the loudest that are told apart; all below is as dark.
        title: Above it.
        ax: Axes to draw on; the scale takes some of their room.

    Raises:
        AudioFormatError: It cannot be decoded.
        ValueError: A number is not over 0.
    """
    if not (max_frequency > 0 and dynamic_range > 0):
        raise ValueError("max_frequency (Hz) and dynamic_range (dB) are over 0")
    return draw_spectrogram(audio, max_frequency, dynamic_range, title, ax)


@overload
def timeline(
    happened: Call | Iterable[Event | tuple[float, Event]],
    *,
    caller: AudioData | None = None,
    ax: None = None,
) -> Picture: ...
@overload
def timeline(
    happened: Call | Iterable[Event | tuple[float, Event]],
    *,
    caller: AudioData | None = None,
    ax: Axes,
) -> Axes: ...
def timeline(
    happened: Call | Iterable[Event | tuple[float, Event]],
    *,
    caller: AudioData | None = None,
    ax: Axes | None = None,
) -> Axes | Picture:
    """Who spoke when, what was understood and answered, and what each answer waited for.

    Args:
        happened: A `Call` of `realtime_stts.testing`, which has both voices; or what a
            session told you, each event with the seconds since it began, as
            ``(seconds, event)``; or the events alone, `TurnEnded` at least, from which it
            is drawn when the bot must have been heard.
        caller: With events: what was said to the session, from its first sound on.
        ax: Axes to draw on. Words need room: 800 by 500 pixels and more.

    Raises:
        ValueError: Nothing happened.
        TypeError: Some events have a time and others do not.
    """
    recording = of_call(happened) if isinstance(happened, Call) else of_events(happened, caller)
    if ax is not None:
        draw_on(ax, recording)
        return ax
    picture = Picture()
    fill(picture, recording, _LEGEND, _WIDTH, _HEIGHT)
    return picture


@overload
def latencies(
    timings: Mapping[str, Iterable[float]],
    *,
    what: str = "time",
    unit: str | None = None,
    log: bool | None = None,
    title: str | None = None,
    ax: None = None,
) -> Picture: ...
@overload
def latencies(
    timings: Mapping[str, Iterable[float]],
    *,
    what: str = "time",
    unit: str | None = None,
    log: bool | None = None,
    title: str | None = None,
    ax: Axes,
) -> Axes: ...
def latencies(
    timings: Mapping[str, Iterable[float]],
    *,
    what: str = "time",
    unit: str | None = None,
    log: bool | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes | Picture:
    """Times of several chains or engines beside each other.

    A dot is one call, the box holds the middle half of them, the line is the median.

    Args:
        timings: The seconds of each call, by name, the first on top.
        what: What was timed, for the axis: "time to first sound".
        unit: None for ms or s, as the times are short or long. Numbers of another unit are
            taken as they are: "" for real-time factors.
        log: A logarithmic axis; None for one where the longest is over 30 times the shortest.
        title: Above it.
        ax: Axes to draw on.

    Raises:
        ValueError: There is no name, a name has no times, a time is negative or not finite,
            or ``log`` is true and a time is 0.
    """
    return draw_latencies(timings, what, unit, log, title, ax)
