"""Who shows which token or password, and how often somebody may guess."""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error as NotBase64
from collections import OrderedDict
from hashlib import sha256
from ipaddress import ip_address, ip_network
from secrets import token_urlsafe

from realtime_stts.errors import AuthenticationError, RateLimitError
from realtime_stts.middleware import Principal
from realtime_stts.settings import Settings

__all__ = ["EVERYTHING", "Access", "Attempts"]

EVERYTHING = ("stt", "tts", "response", "manage")
_ENGINES = EVERYTHING[:3]


class Access:
    """Knows people by what they show. Of that it keeps digests alone.

    Args:
        management_token: Permits everything; by default a new one, unless one of
            `server.auth_tokens` permits ``manage``.
    """

    def __init__(self, settings: Settings, management_token: str | None = None) -> None:
        server = settings.server
        self.is_asked = server.use_auth  # also of those who only talk
        known = {
            f"Bearer {each.token.get_secret_value()}": Principal(name, each.permissions)
            for name, each in server.auth_tokens.items()
        }
        self.has_password = server.use_auth and bool(server.auth_password)
        if server.use_auth and server.auth_password:
            # A password is what browsers send along by themselves, so it does not manage.
            name, password = server.auth_username, server.auth_password.get_secret_value()
            known[f"Basic {name}:{password}"] = Principal(name, _ENGINES)
        if management_token is None and not any(
            "manage" in who.permissions for who in known.values()
        ):
            management_token = token_urlsafe(24)
        if management_token is not None:
            known[f"Bearer {management_token}"] = Principal("owner", EVERYTHING)
        self.management_token = management_token  # None: who has one of the settings' knows it
        self._known = [(_digest(shown), who) for shown, who in known.items()]
        self.attempts = Attempts()

    def token(self, token: str | None, client: str, now: float) -> Principal | None:
        """Who opens a socket; None where nobody needs to be known. Otherwise as `header`."""
        if not self.is_asked:
            return None
        return self.header(None if token is None else f"Bearer {token}", client, now)

    def header(self, authorization: str | None, client: str, now: float) -> Principal:
        """Who sends this header ``Authorization``; a client may be wrong only so often.

        Args:
            now: Seconds of any clock that only goes forward.

        Raises:
            AuthenticationError: Nobody who is known.
            RateLimitError: The client has been wrong too often of late.
        """
        self.attempts.check(client, now)
        try:
            return self._who(None if authorization is None else _shown(authorization))
        except AuthenticationError:
            if authorization is not None:
                self.attempts.failed(client, now)
            raise

    def knows(self, authorization: str | None) -> bool:
        """Whether somebody known sends this header; it is no attempt that counts."""
        try:
            self._who(None if authorization is None else _shown(authorization))
        except AuthenticationError:
            return False
        return True

    def _who(self, shown: str | None) -> Principal:
        if shown is None:
            raise AuthenticationError("nothing was shown")
        digest, found = _digest(shown), None
        for known, principal in self._known:  # all of them: the time taken tells nothing
            if hmac.compare_digest(digest, known):
                found = principal
        if found is None:
            raise AuthenticationError("that is not known here")
        return found


class Attempts:
    """Counts wrong attempts of each client, of so many clients and no more.

    Args:
        limit: After these in a minute, a client has to wait for the minute's end.
        max_clients: That are remembered; the oldest is forgotten.
    """

    def __init__(self, limit: int = 10, *, period: float = 60.0, max_clients: int = 10_000) -> None:
        self._limit, self._period, self._max_clients = limit, period, max_clients
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count, until when

    def __len__(self) -> int:
        return len(self._failed)

    def check(self, client: str, now: float) -> None:
        """Let this client try.

        Raises:
            RateLimitError: It has to wait.
        """
        count, until = self._failed.get(_network(client), (0, 0.0))
        if count >= self._limit and now < until:
            raise RateLimitError("too many wrong attempts", retry_after=until - now)

    def failed(self, client: str, now: float) -> None:
        """It was wrong."""
        network = _network(client)
        count, until = self._failed.pop(network, (0, 0.0))
        if now >= until:
            count, until = 0, now + self._period
        self._failed[network] = count + 1, until
        if len(self._failed) > self._max_clients:
            self._failed.popitem(last=False)


def _network(client: str) -> str:
    """Whom an address belongs to: of IPv6, everybody has 2**64 of them."""
    try:
        address = ip_address(client)
    except ValueError:  # a socket in the file system, or a test's client
        return client
    return client if address.version == 4 else str(ip_network((address, 64), strict=False))


def _shown(authorization: str) -> str:
    """The header in the form in which it is known here."""
    scheme, _, rest = authorization.partition(" ")
    rest = rest.strip()
    if scheme.lower() == "basic":
        try:
            return "Basic " + b64decode(rest, validate=True).decode()
        except (NotBase64, ValueError):
            return ""
    return f"Bearer {rest}" if scheme.lower() == "bearer" else ""


def _digest(shown: str) -> bytes:
    return sha256(shown.encode("utf-8", "surrogatepass")).digest()
