"""What is said in a benchmark: sentences of this project's, or a folder of recordings.

All of it becomes 16-bit mono of 16 kHz, as a microphone of a voice application gives it, so
that no engine's figures hold the resampling of another rate.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ..audio import AudioData
from ..errors import AudioError
from ._figures import Utterance
from ._transcripts import WorkloadError, transcripts

__all__ = ["SENTENCES", "fingerprint", "recorded", "spoken"]

_RATE: Final = 16_000  # Hz

# Everyday questions, requests and statements of 4 to 15 words; numbers and names among them.
SENTENCES: Final = (
    "What time does the next train to the airport leave?",
    "Please turn off the lights in the kitchen.",
    "I would like to book a table for four people at seven o'clock.",
    "How long does it take to walk from here to the station?",
    "Could you tell me what the weather will be like tomorrow?",
    "My order has not arrived yet, and it was due on Monday.",
    "Set an alarm for half past six in the morning.",
    "The meeting was moved from Thursday to Friday afternoon.",
    "Can you recommend a good book about the history of music?",
    "She has lived in the same small house near the river for twenty years.",
    "Remind me to call the doctor when I get home.",
    "How many people live in the capital of Canada?",
    "There is something wrong with the engine of my car.",
    "Play some quiet music while we are having dinner.",
    "I think the second answer was better than the first one.",
    "Add milk, bread and a dozen eggs to the shopping list.",
    "Where did you put the keys to the garden door?",
    "We were late because the bridge was closed.",
    "Please read the last message again, but more slowly.",
    "The children have been playing in the park since noon.",
    "Is there a pharmacy that is open at night?",
    "You can cancel the appointment up to two days before.",
    "Nobody knew why the old clock had stopped.",
    "Thank you, that is all I wanted to know.",
)

# Without breath: eSpeak makes it of random noise, and the same sentence would sound anew each time.
# As it is, the sound depends a little on what the process has said before.
_VOICES: Final = ("en-us", "en-us+f1", "en-gb", "en-gb+m3")
_SPEEDS: Final = (0.85, 1.0, 1.1)  # of 175 words a minute

_FEW: Final = 8  # sentences where less is measured

_LONGEST: Final = 60.0  # s; what is longer is no utterance, and takes as long to be measured


async def spoken(seed: int, *, few: bool) -> list[Utterance]:
    """The sentences of this project, each in a voice and at a speed that the seed chooses.

    Args:
        seed: It shuffles the sentences, too, which matters where only a few are taken.
        few: Eight of them rather than all 24.

    Raises:
        MissingExtraError: eSpeak is not installed.
    """
    from ..engines.espeak import ESpeakTTSEngine

    chance = random.Random(seed)
    texts = chance.sample(SENTENCES, len(SENTENCES))[: _FEW if few else None]
    said: list[Utterance] = []
    async with ESpeakTTSEngine() as voice:
        for number, text in enumerate(texts):
            # In turn, so that each voice has its share of a few.
            config: dict[str, Any] = {
                "voice_id": _VOICES[number % len(_VOICES)],
                "speed_factor": chance.choice(_SPEEDS),
            }
            result = await voice.synthesize(text, config)
            name = f"{config['voice_id']}, {config['speed_factor']:g}: {text}"
            said.append(Utterance(name, text, _as_heard(result.audio_data)))
    return said


def recorded(
    folder: Path, tell: Callable[[str], None] = lambda text: None, *, few: int | None = None
) -> list[Utterance]:
    """The recordings in a folder and below it that have a transcript, by their names.

    Where transcripts may stand says `transcripts`.

    Args:
        tell: Told how many recordings have no transcript, and are left out.
        few: Take so many at most, spread evenly over all.

    Raises:
        WorkloadError: There is no such folder, nothing in it has a transcript, or a file of
            it cannot be used: the message names it.
    """
    if not folder.is_dir():
        raise WorkloadError(f"{folder}: there is no such folder")
    found, without = transcripts(folder)
    if not found:
        raise WorkloadError(
            f"{folder}: no recording has a transcript; beside talk.wav put talk.txt, or give "
            "all of them in transcripts.tsv, *.trans.txt or manifest.jsonl"
        )
    if without:
        tell(f"left out, as they have no transcript: {without} recordings")
    chosen = sorted(found.items())
    if few is not None and len(chosen) > few:
        chosen = [chosen[i * len(chosen) // few] for i in range(few)]
    return [
        Utterance(path.relative_to(folder).as_posix(), text, _read(path)) for path, text in chosen
    ]


def fingerprint(utterances: Sequence[Utterance], *, recorded: bool) -> str:
    """A hash of what is said: the same for the same workload, on every machine.

    Of recordings it is that of all texts and sounds. Of sentences that eSpeak speaks, which
    are not the same to the last bit, it is that of voices, speeds and texts.
    """
    whole = sha256()
    for each in utterances:
        said = each.audio.data if recorded else each.name.encode()
        for part in (each.text.encode(), said):
            whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:16]


def _read(path: Path) -> AudioData:
    try:
        audio = AudioData.from_file(path, max_seconds=_LONGEST)
    except AudioError as exc:
        raise WorkloadError(f"{path}: {exc}") from exc
    except OSError as exc:
        raise WorkloadError(f"{path}: {exc.strerror or exc}") from exc
    return _as_heard(audio)


def _as_heard(audio: AudioData) -> AudioData:
    return audio.mono().resampled(_RATE).converted()
