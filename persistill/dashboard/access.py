"""Who is answered: pages of this machine, with the token that was printed when the server started."""

import hmac
import secrets
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

LOOPBACK = "127.0.0.1"


class Access:
    """Tells requests that may be answered from others.

    The token is random, is new with every server, and comes once in the address that is printed. A browser keeps it as
    a cookie that scripts cannot read and other sites cannot send; programs may send it as a header,
    ``Authorization: token ...``.

    Attributes:
        token: 32 random bytes in URL-safe letters.

    Args:
        port: on which the server listens.
    """

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        self._cookie = f"persistill-{port}"  # cookies of one host are shared by its ports
        self._hosts = [f"{name}:{port}" for name in (LOOPBACK, "localhost")]

    def from_here(self, address: str, headers: Message) -> bool:
        """Whether a request comes from this machine, and from no page of another site."""
        origin = headers.get("Origin")
        return (
            address == LOOPBACK
            and headers.get_all("Host", []) in [[host] for host in self._hosts]
            and (origin is None or origin in {f"http://{host}" for host in self._hosts})
            and headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        )

    def in_address(self, target: str) -> bool:
        """Whether the address of a request holds the token."""
        return any(map(self._right, parse_qs(urlsplit(target).query).get("token", [])))

    def allows(self, target: str, headers: Message) -> bool:
        """Whether a request holds the token: in its address, in its cookie or in a header."""
        words = (headers.get("Authorization") or "").split()
        in_header = len(words) == 2 and words[0].lower() == "token" and self._right(words[1])
        return in_header or self._in_cookie(headers) or self.in_address(target)

    @property
    def set_cookie(self) -> str:
        """The header that gives a browser the token."""
        return f"{self._cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def _in_cookie(self, headers: Message) -> bool:
        try:
            cookies = SimpleCookie(headers.get("Cookie") or "")
        except CookieError:
            return False
        return self._cookie in cookies and self._right(cookies[self._cookie].value)

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())
