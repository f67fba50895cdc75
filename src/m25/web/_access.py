"""Who may do something: whoever has signed in with the token.

There is one token, and nothing is stored: the cookie is signed with it, so a new token ends all
sessions. What is signed is a random text, which each form repeats. A page of another site can make
a browser send neither: the cookie is sent from our own pages alone (`SameSite=Strict`), and the
text is in nothing that it can read. Beside these two, browsers say from where a request comes.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final, NamedTuple, cast
from urllib.parse import urlencode

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import Response

from .._errors import UsageError

COOKIE: Final = "m25_session"
#: The name of the field of each form.
FIELD: Final = "csrf"
#: For how long one is signed in, in seconds: a working day.
_LONGEST: Final = 12 * 3600
#: A token is guessed by nobody if it is at least this long, and random.
SHORTEST_TOKEN: Final = 16


#: In addresses: what was done; and for how long that is told, in seconds.
_SAID: Final = "said"
_LONGEST_SAID: Final = 30


class Said(NamedTuple):
    """What was done, or why not."""

    words: str
    #: "good" or "bad".
    kind: str


class Access:
    """One for each dashboard.

    Args:
        token: what one signs in with; without it nobody can.
        private: whether one who has not signed in sees nothing.

    Raises:
        UsageError: the token is too short, or `private` is without one.
    """

    def __init__(self, token: str | None, private: bool) -> None:
        if private and token is None:
            raise UsageError("a dashboard that is private needs a token to sign in with")
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise UsageError(
                f"the token of a dashboard has {SHORTEST_TOKEN} characters or more: make one by"
                " `python -c 'import secrets; print(secrets.token_urlsafe())'`"
            )
        self._token = token
        self._private = private
        self._sessions = _serializer(token, "session")
        self._sayings = _serializer(token, "said")

    @property
    def is_possible(self) -> bool:
        """Whether anybody can sign in."""
        return self._token is not None

    def csrf_of(self, request: Request) -> str | None:
        """What the forms of a session repeat; `None` is that nobody has signed in."""
        cookie = request.cookies.get(COOKIE)
        if self._sessions is None or cookie is None:
            return None
        try:
            return cast("str", self._sessions.loads(cookie, max_age=_LONGEST))
        except BadSignature:
            return None

    def may_look(self, request: Request) -> bool:
        """Whether a request may see what there is."""
        # rule: what is private is shown to those who have signed in
        return not self._private or self.csrf_of(request) is not None

    def may_act(self, request: Request, repeated: str) -> bool:
        """Whether a request that is to change something comes from a form of its session's."""
        if not is_from_here(request):  # rule: what another site sends is refused
            return False
        csrf = self.csrf_of(request)
        return csrf is not None and _same(csrf, repeated)  # rule: a form repeats its session's text

    def is_token(self, given: str) -> bool:
        """Whether it is the token."""
        return self._token is not None and _same(self._token, given)

    def sign_in(self, request: Request, response: Response) -> None:
        """Begin a session."""
        assert self._sessions is not None, "there is a token"
        session = str(self._sessions.dumps(secrets.token_urlsafe()))
        response.set_cookie(
            COOKIE,
            session,
            max_age=_LONGEST,
            path=_path(request),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session in this browser."""
        response.delete_cookie(COOKIE, path=_path(request), httponly=True, samesite="strict")

    # What was done is said on the page that is shown next, by its address. It is signed, so that no
    # link of somebody else's can have the dashboard say something.

    def with_words(self, words: str, *, is_good: bool) -> str:
        """The query of an address whose page says what was done."""
        assert self._sayings is not None, "somebody has signed in"
        said = self._sayings.dumps([words, is_good])
        return urlencode({_SAID: said})

    def without_words(self, url: URL) -> URL:
        """The same address, whose page says nothing."""
        return url.remove_query_params(_SAID)

    def words_in(self, request: Request) -> Said | None:
        """What was done, if the page is to say it."""
        said = request.query_params.get(_SAID)
        if self._sayings is None or said is None:
            return None
        try:
            words, is_good = self._sayings.loads(said, max_age=_LONGEST_SAID)
        except BadSignature:
            return None
        return Said(words, "good" if is_good else "bad")


def is_from_here(request: Request) -> bool:
    """Whether the browser says that one of our own pages has sent it. One that says nothing is old,
    or is no browser.
    """
    return request.headers.get("Sec-Fetch-Site", "same-origin") in ("same-origin", "none")


def _serializer(token: str | None, use: str) -> URLSafeTimedSerializer | None:
    return None if token is None else URLSafeTimedSerializer(token, salt=f"m25.web {use}")


def _same(one: str, other: str) -> bool:
    # In a time that says nothing of how much of it is right.
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "surrogatepass"))


def _path(request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/"
