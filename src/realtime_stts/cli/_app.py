"""The commands: what they are called, what they take, what they print."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import anyio

from .. import __version__
from ..errors import AudioDeviceError, MissingExtraError
from ._console import FAILED, MISUSED, fail, one_line_errors, out, tell

try:
    import typer
    from rich.table import Table

    from ._batch_command import EPILOG as TRANSCRIBING
    from ._batch_command import transcribe
    from ._env import app as environments
    from ._settings import app as settings_commands
except ImportError as exc:
    raise MissingExtraError("The realtime-stts command", "cli") from exc

__all__ = ["app"]

_FORMATS = ("wav", "flac", "ogg", "opus", "mp3")

app = typer.Typer(
    name="realtime-stts",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

SttOption = Annotated[
    str, typer.Option("--stt", metavar="ENGINE", help="Speech to text; doctor lists the engines.")
]
TtsOption = Annotated[
    str, typer.Option("--tts", metavar="ENGINE", help="Text to speech; doctor lists the engines.")
]


class _Mode(str, Enum):
    template = "template"
    echo = "echo"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"realtime-stts {__version__}")
        raise typer.Exit


@app.callback(
    epilog="[bold]Begin with[/bold]\n\n"
    "realtime-stts demo   [dim]half a minute; no download, no microphone[/dim]"
)
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Real-time speech in the terminal: to text, from text, and a whole conversation."""


app.command(epilog=TRANSCRIBING)(transcribe)


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    'realtime-stts say "good morning"\n\n'
    'realtime-stts say "guten Morgen" --voice de --speed 0.9 -o morgen.mp3\n\n'
    "realtime-stts say --list-voices\n\n"
    "cat letter.txt | realtime-stts say - -o letter.opus"
)
@one_line_errors()
def say(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", show_default=False, help="What to say; - for stdin.")
    ] = "",
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="wav, flac, ogg, opus or mp3, by its suffix."
        ),
    ] = Path("say.wav"),
    tts: TtsOption = "espeak",
    voice: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Such as en-us+f3. [dim]Default: the engine's own.[/dim]"),
    ] = None,
    speed: Annotated[float, typer.Option(help="2.0 is twice as fast.")] = 1.0,
    list_voices: Annotated[
        bool, typer.Option("--list-voices", help="List the engine's voices instead.")
    ] = False,
) -> None:
    """Speak a text into a file.

    Prints the duration, the time to the first sound, and the real-time
    factor: seconds of computing for each second of sound.
    """
    from ._speech import speak, voices

    if list_voices:
        table = Table("voice", "name", "language", box=None, pad_edge=False)
        for known in anyio.run(voices, tts):
            table.add_row(known["id"], known["name"], known["language"])
        out.print(table)
        return
    if text == "-":
        text = sys.stdin.read()
    if not text.strip():
        raise fail('there is nothing to say: realtime-stts say "good morning"', MISUSED)
    if output.suffix[1:].lower() not in _FORMATS:
        raise fail(f"{output}: the name must end in one of .{', .'.join(_FORMATS)}", MISUSED)
    config = {"speed_factor": speed} | ({"voice_id": voice} if voice else {})
    spoken = anyio.run(speak, text, tts, config)
    try:
        spoken.audio.to_file(output)
    except OSError as exc:  # which may name a temporary file beside it
        raise fail(f"{output}: {exc.strerror}") from exc
    duration = spoken.audio.duration_seconds
    out.print(
        f"{output}: {duration:.2f} s, first sound after "
        f"{1000 * spoken.time_to_first_audio:.1f} ms, "
        f"real-time factor {spoken.elapsed / duration:.3f}",
        soft_wrap=True,
        markup=False,
    )


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "realtime-stts demo\n\n"
    'realtime-stts demo --say "good morning" --say "tell me a joke"\n\n'
    "realtime-stts demo --input question.wav --output-dir out/mine"
)
@one_line_errors()
def demo(
    recording: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Let this recording talk to the bot."),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--say", metavar="TEXT", help="Let the caller say this; may be repeated."),
    ] = None,
    output_dir: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")] = Path(
        "out/demo"
    ),
    stt: SttOption = "pocketsphinx",
    tts: TtsOption = "espeak",
    fast: Annotated[
        bool, typer.Option("--fast", help="The same call without waiting, for tests.")
    ] = False,
) -> None:
    """Hold a spoken conversation and look at every moment of it.

    A caller and a bot talk in real time: the bot hears when the caller
    pauses, understands, answers and speaks. Twice the caller speaks over
    it: once it goes on, and once it stops. You read along.

    Then conversation.wav lets you listen, timeline.png shows who spoke when
    and how long each answer took, and events.jsonl holds all that happened.
    """
    from ._demo import PART, Line, run_demo

    if recording is not None and texts:
        raise fail("--input and --say exclude each other", MISUSED)
    if not all(text.strip() for text in texts or ()):
        raise fail("--say needs some words", MISUSED)
    lines = [Line(text) for text in texts or ()] or PART
    if not run_demo(recording, lines, output_dir, stt=stt, tts=tts, fast=fast):
        raise fail("at least one turn failed")


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "realtime-stts talk\n\n"
    "realtime-stts talk --list-devices\n\n"
    "realtime-stts talk --device headset --output-device headset\n\n"
    "realtime-stts talk --push-to-talk --mode echo"
)
@one_line_errors()
def talk(
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="The microphone: its number, or words of its name. "
            "[dim]Default: the system's.[/dim]",
        ),
    ] = None,
    output_device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="The loudspeaker, likewise.")
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List the devices instead.")
    ] = False,
    push_to_talk: Annotated[
        bool, typer.Option("--push-to-talk", help="Let Enter begin and end your turns.")
    ] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep what was said and heard in files there."),
    ] = None,
    mode: Annotated[_Mode, typer.Option(help="How the bot answers.")] = _Mode.template,
    stt: SttOption = "pocketsphinx",
    tts: TtsOption = "espeak",
) -> None:
    """Talk with a bot: you speak, it listens and answers aloud.

    You see how loud the microphone is, what is understood while you speak,
    and how long each answer took. Speak over the bot, and it stops.

    Needs a microphone, a loudspeaker and their extra:
    pip install "realtime-stts\\[microphone]"
    """
    from ._talk import Settings, device_table, run_talk

    if list_devices:
        from ..integrations.microphone import devices

        found = devices()
        out.print(device_table(found) if found else "this machine has no sound device")
        return
    settings = Settings(
        stt=stt,
        tts=tts,
        mode=mode.value,
        microphone=_device(device),
        speaker=_device(output_device),
        push_to_talk=push_to_talk,
        output_dir=output_dir,
    )
    try:
        run_talk(settings)
    except AudioDeviceError as exc:
        way_out = "choose one by --device or --output-device" if exc.found else "plug one in"
        raise fail(f"{exc}; {way_out}, or try realtime-stts demo, which needs none") from exc


def _device(name: str | None) -> int | str | None:
    """A device by its index, if it looks like one."""
    return int(name) if name is not None and name.isdecimal() else name


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "realtime-stts wyoming\n\n"
    "realtime-stts wyoming --stt whisper:base --language de --language en --no-tts\n\n"
    "realtime-stts wyoming --config config.yaml --uri tcp://0.0.0.0:10300"
)
@one_line_errors()
def wyoming(
    uri: Annotated[
        str, typer.Option(metavar="URI", help="Where to listen: tcp://host:port or unix:///path.")
    ] = "tcp://127.0.0.1:10300",
    stt: SttOption = "pocketsphinx",
    tts: TtsOption = "espeak",
    no_stt: Annotated[bool, typer.Option("--no-stt", help="Only speak.")] = False,
    no_tts: Annotated[bool, typer.Option("--no-tts", help="Only listen.")] = False,
    languages: Annotated[
        list[str] | None,
        typer.Option(
            "--language",
            metavar="CODE",
            help="What speech to text is offered for; may be repeated. "
            "[dim]Default: what the engine says of itself, or en.[/dim]",
        ),
    ] = None,
    pause_detector: Annotated[
        str | None,
        typer.Option(metavar="ENGINE", help="Tell clients of speech and pauses, such as silero."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Settings whose engines and middleware are used, not --stt, --tts."
        ),
    ] = None,
) -> None:
    """Be the ears and the voice of Home Assistant, by the Wyoming protocol.

    In Home Assistant: Settings, Devices & services, Add integration, Wyoming
    Protocol; host and port are where this listens. Ctrl-C stops.

    The protocol has no password, so only this machine is listened to unless
    --uri says otherwise. Needs an extra: pip install "realtime-stts\\[wyoming]"
    """
    from ._wyoming import Wanted, run_wyoming

    run_wyoming(
        Wanted(
            uri,
            None if no_stt else stt,
            None if no_tts else tts,
            pause_detector,
            languages or (),
            config,
        )
    )


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "realtime-stts download whisper:base.en\n\n"
    "realtime-stts download whisper:turbo --root /srv/models"
)
@one_line_errors()
def download(
    engine: Annotated[
        str, typer.Argument(metavar="ENGINE", help="Its name, a colon and its model.")
    ],
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where to put it. [dim]Default: the engine's own.[/dim]"
        ),
    ] = None,
) -> None:
    """Fetch an engine's model before it is needed.

    What is there and whole is not fetched again. Prints where it is.
    """
    from ._download import download

    path = anyio.run(download, engine, root)
    tell(f"{engine} needs no download" if path is None else f"{engine}: {path}")


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "realtime-stts bench --quick\n\n"
    "realtime-stts bench stt --stt whisper:base.en --data LibriSpeech/test-clean\n\n"
    "realtime-stts bench --compare out/bench/bench.json\n\n"
    "realtime-stts bench --compare monday.json --read friday.json"
)
@one_line_errors()
def bench(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE]...",
            show_default=False,
            help="stt, tts, turn-taking, barge-in, voice-to-voice, sessions, middleware. "
            "[dim]Default: all.[/dim]",
        ),
    ] = None,
    stt: SttOption = "pocketsphinx",
    tts: TtsOption = "espeak",
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure less: all of it in under three minutes.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Recordings of a minute at most, with transcripts: NAME.txt beside each, "
            "transcripts.tsv (name, tab, text), LibriSpeech's *.trans.txt, or manifest.jsonl "
            "(audio_filepath, text). [dim]Default: sentences that eSpeak speaks.[/dim]",
        ),
    ] = None,
    language: Annotated[
        str, typer.Option(metavar="CODE", help="The language of the recordings.")
    ] = "en",
    out_dir: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the files go.")
    ] = Path("out/bench"),
    old: Annotated[
        Path | None,
        typer.Option("--compare", metavar="OLD.json", help="Say what changed since that report."),
    ] = None,
    new: Annotated[
        Path | None,
        typer.Option("--read", metavar="NEW.json", help="Show that report, measure nothing."),
    ] = None,
    across_engines: Annotated[
        bool, typer.Option("--across-engines", help="Compare although the engines differ.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of whatever is random.")] = 0,
    repeat: Annotated[
        int, typer.Option(metavar="N", min=1, help="Run each suite so often; samples are joined.")
    ] = 1,
) -> None:
    """Measure how fast and how good engines and conversations are here.

    Prints tables, and writes bench.json with every sample, bench.md, and a
    chart of each suite. Fails where a suite does: its own checks are among it.

    Needs an extra: pip install "realtime-stts\\[bench]"
    """
    from ._bench import Wanted, run_bench

    wanted = Wanted(
        suites=suites or (),
        stt=stt,
        tts=tts,
        quick=quick,
        data=data,
        language=language,
        folder=out_dir,
        old=old,
        new=new,
        across_engines=across_engines,
        seed=seed,
        repeat=repeat,
    )
    if not run_bench(wanted):
        raise typer.Exit(FAILED)


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "realtime-stts doctor\n\n"
    "realtime-stts doctor --config config.yaml --strict\n\n"
    "realtime-stts doctor --json | jq .problems"
)
@one_line_errors()
def doctor(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Settings to look at. [dim]Default: $REALTIME_STTS_CONFIG, or config.yaml.[/dim]",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail for every problem, also one nobody asked for.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Show what is installed and set, what is broken, and what mends it.

    Fails where settings that you named cannot be used here.
    """
    from ._doctor import examine

    if not examine(out, config=config, as_json=as_json, strict=strict):
        raise typer.Exit(FAILED)


app.add_typer(environments, name="env")
app.add_typer(settings_commands, name="settings")
