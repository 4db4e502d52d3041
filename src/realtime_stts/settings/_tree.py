"""The settings: every key there is, with its meaning, unit, range and default."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator
from typing_extensions import Self

from ._middleware_tree import MiddlewareSettings
from ._section import Section, option

__all__ = [
    "AnalyticsSettings",
    "AudioOutputSettings",
    "AudioSettings",
    "AuthTokenSettings",
    "ConversationSettings",
    "DebugSettings",
    "GenerationDefaults",
    "LimitSettings",
    "ModelSettings",
    "PathSettings",
    "PauseDetectionSettings",
    "PolicySettings",
    "STTEngineSettings",
    "ServerSettings",
    "SessionLimitSettings",
    "Settings",
    "TTSEngineSettings",
    "UISettings",
    "UIState",
]

_DEVICE = r"^(auto|cpu|mps|cuda(:\d{1,3})?)$"


class ServerSettings(Section):
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 is every network.")
    port: int = option(8000, "Port to listen on.", ge=1, le=65535)
    use_auth: bool = option(False, "Ask clients for a name and password, or a token.")
    auth_username: str = option("user", "Name of the one user that has a password.")
    auth_password: SecretStr | None = option(None, "Their password; none lets nobody in by name.")
    auth_tokens: dict[str, AuthTokenSettings] = option(
        {}, "Tokens by whom they stand for, each with what it permits."
    )
    allowed_hosts: tuple[str, ...] = option(
        (), "Names that clients may call the server by; none: its address, and this machine's own."
    )
    cors_origins: tuple[str, ...] = option(
        (), "Web origins of other pages that may call; * is any."
    )
    cors_allow_credentials: bool = option(False, "Let browsers send cookies and passwords along.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = option(
        "INFO", "Least severe messages that are logged.", restart=False
    )
    log_file_path: Path | None = option(None, "File of the log; none is the console alone.")
    log_file_max_size_mb: int = option(
        10, "Size at which a new file of the log begins.", unit="MB", ge=1, le=10_000
    )
    log_file_backup_count: int = option(5, "Older files of the log that are kept.", ge=0, le=1000)
    enable_performance_monitor: bool = option(False, "Log how long the parts of a request took.")
    drain_seconds: float = option(
        10.0, "Time that conversations have to end in when the server stops.", unit="s", ge=0
    )

    @model_validator(mode="after")
    def _is_clear_who_comes_in(self) -> Self:
        if self.use_auth and not self.auth_password and not self.auth_tokens:
            raise ValueError("use_auth needs an auth_password or auth_tokens: nobody could come in")
        tokens = [each.token.get_secret_value() for each in self.auth_tokens.values()]
        if len({*tokens}) < len(tokens):
            raise ValueError("two of auth_tokens are the same: whose would it be?")
        return self


class AuthTokenSettings(Section):
    """A token, and what it permits."""

    token: SecretStr = Field(description="At least 16 characters.", min_length=16)
    permissions: tuple[str, ...] = option(
        ("stt", "tts", "response"),
        "Calls that it permits: stt, tts, response; and manage: settings, voices, analytics.",
    )


ServerSettings.model_rebuild()


class ModelSettings(Section):
    repo_id: Literal["ResembleAI/chatterbox", "ResembleAI/chatterbox-turbo"] = option(
        "ResembleAI/chatterbox", "Chatterbox model on Hugging Face."
    )
    use_multilingual: bool = option(False, "Take its model for 23 languages.")
    local_path: Path | None = option(None, "Folder with such a model's files, instead.")


class STTEngineSettings(Section):
    engine: str = option(
        "pocketsphinx",
        "Name of the engine, perhaps with an argument: pocketsphinx, whisper, whisper:base.en.",
        min_length=1,
    )
    device: str = option("auto", "auto, cpu, mps, cuda or cuda:1. For whisper.", pattern=_DEVICE)
    model_size: str = option("base", "Whisper's model, such as tiny, base.en, turbo.", min_length=1)
    language: str = option(
        "auto",
        "Language spoken, such as en; auto lets the engine detect it.",
        pattern=r"^(auto|[a-z]{2,3}(-[A-Za-z0-9]{2,8})*)$",
        restart=False,
    )
    model_path: Path | None = option(None, "Whisper checkpoint of your own; wins over model_size.")
    download_root: Path | None = option(
        None, "Folder of Whisper's downloads; by default paths.model_cache."
    )
    max_batch: int = option(16, "Windows that Whisper computes together.", ge=1, le=256)
    idle_ttl: float | None = option(
        None, "Idle time after which Whisper's model is unloaded; none keeps it.", unit="s", gt=0
    )
    options: dict[str, Any] = option({}, "More arguments for the engine's class, as it has them.")


class TTSEngineSettings(Section):
    engine: str = option(
        "espeak",
        "Name of the engine, perhaps with an argument: espeak, espeak:de, chatterbox.",
        min_length=1,
    )
    device: str = option("auto", "auto, cpu, mps, cuda or cuda:1. For chatterbox.", pattern=_DEVICE)
    predefined_voices_path: Path | None = option(
        None, "Folder of Chatterbox's registered voices; none keeps them in memory."
    )
    reference_audio_path: Path | None = option(None, "Folder of recordings that clients upload.")
    default_voice_id: str | None = option(
        None, "Voice where a call names none; none is the engine's own.", restart=False
    )
    watermark: bool = option(True, "Mark Chatterbox's speech as made, inaudibly.")
    max_active: int = option(8, "Sentences that Chatterbox speaks at a time.", ge=1, le=256)
    idle_ttl: float | None = option(
        None, "Idle time after which Chatterbox's model is unloaded; none keeps it.", unit="s", gt=0
    )
    options: dict[str, Any] = option({}, "More arguments for the engine's class, as it has them.")


class PathSettings(Section):
    model_cache: Path | None = option(
        None, "Folder of all downloaded models; none is each library's own."
    )
    output: Path = option(Path("outputs"), "Folder of what is written for the user.")


class GenerationDefaults(Section):
    """What a call that says nothing else speaks with. Defaults go to no engine."""

    temperature: float = option(0.8, "How freely the model draws.", ge=0.05, le=2)
    exaggeration: float = option(0.5, "How expressive; 0.5 is neutral.", ge=0, le=2)
    cfg_weight: float = option(0.5, "How closely to keep to the text's pace.", ge=0, le=1)
    seed: int = option(0, "Of what is drawn; 0 draws anew each time.", ge=0, le=2**63 - 1)
    speed_factor: float = option(1.0, "2 is twice as fast.", ge=0.5, le=2)
    language: str = option("en", "Language of the text.", pattern=r"^[a-z]{2,3}$")


class AudioSettings(Section):
    sample_rate: int = option(
        16_000, "Of the audio that clients send.", unit="Hz", ge=8000, le=192_000
    )
    channels: int = option(1, "Of the audio that clients send.", ge=1, le=8)
    format: Literal["pcm", "float32"] = option(
        "pcm", "Of the audio that clients send: pcm is 16-bit, little-endian."
    )


class AudioOutputSettings(Section):
    format: Literal["wav", "flac", "ogg", "opus", "mp3", "pcm"] = option(
        "wav", "Where a client asks for no other."
    )
    sample_rate: int = option(24_000, "Of the speech.", unit="Hz", ge=8000, le=192_000)
    max_reference_duration_sec: float = option(
        30.0, "Longest recording a voice is taken from.", unit="s", gt=0, le=600
    )


class PauseDetectionSettings(Section):
    engine: Literal["auto", "silero", "webrtc", "energy"] = option(
        "auto", "auto is silero where its package is installed, else energy."
    )
    min_speech_frames: int = option(3, "Frames of speech that begin it.", ge=1, le=1000)
    min_pause_frames: int = option(10, "Frames of silence that end it.", ge=1, le=1000)
    frame_duration_ms: int = option(
        30, "Length of a frame; for webrtc 10, 20 or 30.", unit="ms", ge=10, le=100
    )
    aggressiveness: int = option(2, "How strictly webrtc takes noise for noise.", ge=0, le=3)
    energy_threshold: float = option(0.01, "Of energy: level that is speech.", gt=0, le=1)
    start_above: float = option(0.5, "Of silero: probability that begins speech.", gt=0, lt=1)
    stop_below: float = option(0.35, "Of silero: probability that ends it.", gt=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.stop_below > self.start_above:
            raise ValueError("stop_below is at most start_above: else speech has no end")
        if self.engine == "webrtc" and self.frame_duration_ms not in (10, 20, 30):
            raise ValueError("frame_duration_ms is 10, 20 or 30 for webrtc")
        return self


class PolicySettings(Section):
    """When the user has finished, and when they have taken the floor."""

    end_of_turn: float = option(0.6, "Silence that ends a turn.", unit="s", ge=0, le=60)
    pre_roll: float = option(0.3, "Audio kept from before speech.", unit="s", ge=0, le=5)
    min_turn: float = option(0.0, "Turns with less speech are dropped.", unit="s", ge=0)
    max_turn: float = option(60.0, "Longer turns are cut here.", unit="s", gt=0)
    max_waiting: int = option(8, "Turns that wait while one is answered.", ge=1, le=1000)
    manual: bool = option(False, "Push to talk: speech itself opens no turn.")
    speculative: bool = option(False, "Begin to answer in every pause.")
    idle_after: float | None = option(30.0, "Silence until the host is told.", unit="s", ge=0)
    barge_in: float | None = option(
        0.3, "Speech over an answer that holds it; none lets nobody interrupt.", unit="s", ge=0
    )
    hold_on_speech: bool = option(True, "Hold the answer before there are words.")
    min_words: int = option(1, "Words over an answer that stop it.", ge=0)
    false_interruption: float = option(
        2.0, "Silence after which a held answer goes on.", unit="s", ge=0
    )
    backchannels: frozenset[str] | None = option(None, "Words that take no floor; none: the usual.")
    self_echo: float | None = option(
        0.8, "Share of words just spoken by the bot that is its echo.", gt=0, le=1
    )


class SessionLimitSettings(Section):
    """How long a session waits; none is no limit."""

    transcription: float | None = option(10.0, "For a turn's transcript.", unit="s", gt=0)
    response: float | None = option(30.0, "For the answer's next piece.", unit="s", gt=0)
    synthesis: float | None = option(15.0, "For a sentence's next sound.", unit="s", gt=0)
    send: float | None = option(10.0, "For a client to take a message.", unit="s", gt=0)
    duration: float | None = option(None, "Of the session.", unit="s", gt=0)
    input_gap: float | None = option(None, "Without any audio from the client.", unit="s", gt=0)


class ConversationSettings(Section):
    response_mode: Literal["template", "echo"] = option("template", "How the bot answers.")
    max_history_length: int = option(50, "Exchanges that it remembers.", ge=1, le=10_000)
    partial_interval: float | None = option(
        1.0, "Speech between two transcripts of a turn; none: only at its end.", unit="s", gt=0
    )
    playout_lead: float = option(
        0.1, "Time by which sound may be handed over early.", unit="s", ge=0, le=60
    )
    adaptive_end_of_turn: bool = option(True, "Judge from the words how long a pause may last.")
    policy: PolicySettings = option(PolicySettings(), "Who has the floor.")
    limits: SessionLimitSettings = option(SessionLimitSettings(), "How long a session waits.")


class LimitSettings(Section):
    """What a client may ask of a server."""

    max_upload_mb: float = option(100.0, "Size of an uploaded file.", unit="MB", gt=0, le=10_000)
    max_audio_seconds: float = option(
        3600.0, "Length of an uploaded recording.", unit="s", gt=0, le=86_400
    )
    max_text_length: int = option(
        20_000, "Length of a text to speak.", unit="characters", ge=1, le=10_000_000
    )
    max_sessions: int = option(100, "Conversations at a time.", ge=1, le=100_000)
    max_sessions_per_client: int = option(8, "Of them, those of one client.", ge=1, le=100_000)
    max_session_seconds: float = option(3600.0, "Length of a conversation.", unit="s", gt=0)
    max_idle_seconds: float = option(
        120.0, "Time after which a connection that sends nothing is closed.", unit="s", gt=0
    )
    max_message_kb: int = option(
        1024, "Size of a message to a WebSocket.", unit="KiB", ge=16, le=65_536
    )
    max_decoders: int = option(2, "Uploads that are decoded at a time.", ge=1, le=64)
    max_decoding_seconds: float = option(
        60.0, "Computing time for an upload's decoding.", unit="s", gt=0, le=3600
    )
    max_voices: int = option(100, "Voices that clients may upload.", ge=0, le=100_000)
    max_voice_mb: float = option(25.0, "Size of a voice's recording.", unit="MB", gt=0, le=1000)


class AnalyticsSettings(Section):
    enable: bool = option(True, "Count calls, voices, formats, languages and errors.")
    path: Path | None = option(None, "SQLite file that keeps them; none counts in memory alone.")
    retention_days: int | None = option(
        30, "Age at which events are deleted from the file; none keeps them.", unit="d", ge=1
    )
    pseudonymous: bool = option(False, "Know voices by the pseudonyms of redaction alone.")


class UISettings(Section):
    title: str = option("Realtime STTS", "Title of the page.", max_length=200)
    show_language_select: bool = option(True, "Let the user choose a language.")
    max_predefined_voices_in_dropdown: int = option(20, "Voices in the list.", ge=1, le=1000)


class UIState(Section):
    """Where the user left the page."""

    last_text: str = option("", "Text in the field.", max_length=1_000_000)
    last_voice_mode: Literal["predefined", "clone"] = option("predefined", "Kind of voice.")
    last_predefined_voice: str | None = option(None, "Voice that was chosen.")
    last_reference_file: str | None = option(None, "Recording that was chosen.")
    last_seed: int = option(0, "Seed that was chosen.", ge=0, le=2**63 - 1)
    last_chunk_size: int = option(120, "Length of a chunk.", unit="characters", ge=1, le=10_000)
    last_split_text_enabled: bool = option(True, "Whether long text is split.")
    hide_chunk_warning: bool = option(False, "Do not show it again.")
    hide_generation_warning: bool = option(False, "Do not show it again.")
    theme: Literal["dark", "light"] = option("dark", "Of the page.")


class DebugSettings(Section):
    save_intermediate_audio: bool = option(False, "Keep each step's audio: personal data.")


class Settings(Section):
    """All settings: an immutable value. `SettingsStore` brings the layers together."""

    server: ServerSettings = option(ServerSettings(), "The server.", restart=True)
    model: ModelSettings = option(ModelSettings(), "Chatterbox's model.", restart=True)
    stt_engine: STTEngineSettings = option(STTEngineSettings(), "Speech to text.", restart=True)
    tts_engine: TTSEngineSettings = option(TTSEngineSettings(), "Text to speech.", restart=True)
    paths: PathSettings = option(PathSettings(), "Folders.", restart=True)
    generation_defaults: GenerationDefaults = option(GenerationDefaults(), "How to speak.")
    audio: AudioSettings = option(AudioSettings(), "Audio that comes in.")
    audio_output: AudioOutputSettings = option(AudioOutputSettings(), "Audio that goes out.")
    pause_detection: PauseDetectionSettings = option(PauseDetectionSettings(), "Pauses.")
    conversation: ConversationSettings = option(ConversationSettings(), "Conversations.")
    middleware: MiddlewareSettings = option(
        MiddlewareSettings(), "What is around the engines' calls.", restart=True
    )
    limits: LimitSettings = option(LimitSettings(), "What a client may ask.")
    analytics: AnalyticsSettings = option(AnalyticsSettings(), "Usage.", restart=True)
    ui: UISettings = option(UISettings(), "The web page.")
    ui_state: UIState = option(UIState(), "Where the user left it.")
    debug: DebugSettings = option(DebugSettings(), "For developers.")

    def masked(self) -> dict[str, Any]:
        """All values for a display, JSON's types alone; secrets are asterisks."""
        return self.model_dump(mode="json")
