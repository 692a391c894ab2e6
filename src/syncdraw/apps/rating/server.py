"""The pages that raters see. Nothing in them, in their addresses or in their headers tells a clip's source.

A page works without JavaScript: each score is a button of a form. The script adds keys, waits until the clip is there,
and tries again by itself while a rating cannot be saved.

Where other machines can reach the server, every address of the study begins with its token.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from syncdraw.apps.listening import is_local, link_to, listen
from syncdraw.apps.rating.ratings import HIGHEST, LOWEST, Assigned, NotSavedError, Ratings
from syncdraw.apps.rating.study import CLIPS_FOLDER, Study, load_study, order_for
from syncdraw.errors import UserError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PAGE = Path(__file__).parent / "page"

_MOST_BYTES = 1000  # of a form
_YEAR = 365 * 24 * 3600  # seconds
_HEADERS = {
    # Nothing from elsewhere, and nothing in anybody else's frame.
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "referrer-policy": "no-referrer",  # addresses hold the token and the rater's key
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",  # going back shows the score that was given since
}


def serve_study(study: Path, host: str = "localhost", port: int = 8000) -> None:
    """Let people rate, until Ctrl-C: prints the link to give them. Ratings are on the disk as they come in.

    Nothing personal is asked or kept: no name, no address. A cookie remembers where a rater stopped.

    Args:
        study: the folder of the study.
        host: whom to serve. localhost is this machine alone. 0.0.0.0 is every machine that can reach this one, and the
            link then holds a token, without which nobody gets in.
        port: of the link.

    Raises:
        UserError: there is no such study, or the port is in use.
    """
    made = load_study(study)
    Ratings(study).all()  # says so now if they cannot be read
    try:
        import uvicorn
    except ImportError:
        raise UserError("rating needs the extra app: pip install 'syncdraw[app]'") from None
    local = is_local(host)
    listening = listen(host, port)
    server = uvicorn.Server(
        uvicorn.Config(
            application(study, token=None if local else made.token),
            log_level="warning",
            access_log=False,  # it would keep the addresses of raters
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    print(f"give raters this link: {link_to(listening, host, None if local else made.token)}")
    print(f"each rates {made.clips_a_rater} clips; Ctrl-C stops, and loses nothing", flush=True)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
    print("stopped")


def application(folder: Path, token: str | None = None) -> Starlette:
    """The pages, as an ASGI application.

    Args:
        folder: the study's.
        token: what every address begins with; None for none, which lets in this machine's own browsers alone.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    pages = _Pages(folder, load_study(folder), base=f"/{token}" if token else "")
    routes = [
        Route("/", pages.welcome),
        Route("/start", pages.start, methods=["POST"]),
        Route("/clips/{clip}", pages.clip),
        Route("/r/{key}", pages.go_on),
        Route("/r/{key}/examples", pages.examples),
        Route("/r/{key}/done", pages.done),
        Route("/r/{key}/{position:int}", pages.ask),
        Route("/r/{key}/{position:int}", pages.answer, methods=["POST"]),
    ]
    # The same for every study. It stands before the token, for the page that says that the token is wrong needs it.
    static = Mount("/page", StaticFiles(directory=PAGE / "static"))
    # Another site's script can make a name of its own stand for this machine; its requests bear that name.
    own = [] if token else [Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]"])]
    return Starlette(
        routes=[static, *([Mount(f"/{token}", routes=routes)] if token else routes)],
        exception_handlers={HTTPException: pages.refuse, NotSavedError: pages.apologise},
        middleware=own,
    )


class _Pages:
    """The answer to each request."""

    def __init__(self, folder: Path, study: Study, base: str) -> None:
        from jinja2 import Environment, FileSystemLoader

        self._clips = folder.absolute() / CLIPS_FOLDER
        self._known = {*study.examples, *study.source_of()}
        self._study = study
        self._ratings = Ratings(folder)
        self._base = base
        self._cookie = f"syncdraw_rater_{study.name}"
        self._templates = Environment(loader=FileSystemLoader(PAGE), autoescape=True)
        self._templates.globals |= {"base": base, "lowest": LOWEST, "highest": HIGHEST}

    def _page(self, name: str, status: int = 200, **values: Any) -> Response:
        from starlette.responses import HTMLResponse

        return HTMLResponse(self._templates.get_template(name).render(values), status, _HEADERS)

    def _to(self, request: Request, key: str, place: int | str) -> Response:
        """Send the browser on; the page's script, which waits for an answer, is only told where to."""
        from starlette.responses import JSONResponse, RedirectResponse

        address = f"{self._base}/r/{key}/{place}".rstrip("/")
        return JSONResponse({"next": address}) if _from_script(request) else RedirectResponse(address, 303)

    def _assigned(self, key: str) -> tuple[list[Assigned], int]:
        """A rater's clips, and the position of the first that has no score yet; one past the last if all have."""
        from starlette.exceptions import HTTPException

        assigned = self._ratings.assigned(key)
        if not assigned:
            raise HTTPException(404, "Nobody has begun with this link; open the link that you were given first.")
        first = next((position for position, one in enumerate(assigned, 1) if one.score is None), len(assigned) + 1)
        return assigned, first

    def welcome(self, request: Request) -> Response:
        key = request.cookies.get(self._cookie, "")
        assigned = self._ratings.assigned(key) if key else []
        done = sum(one.score is not None for one in assigned)
        count = len(assigned) or self._study.clips_a_rater
        return self._page("welcome.html", key=key if assigned else "", done=done, count=count)

    def start(self, request: Request) -> Response:
        known = request.cookies.get(self._cookie, "")
        if known and "again" not in request.query_params and self._ratings.assigned(known):
            return self._to(request, known, "")  # a second tab, whose page is from before the first one's start
        key = self._ratings.begin(lambda number: order_for(self._study, number))
        response = self._to(request, key, "examples" if self._study.examples else 1)
        response.set_cookie(self._cookie, key, max_age=_YEAR, path=f"{self._base}/", httponly=True, samesite="lax")
        return response

    def go_on(self, request: Request) -> Response:
        key = request.path_params["key"]
        assigned, first = self._assigned(key)
        if first == 1 and self._study.examples:
            return self._to(request, key, "examples")
        return self._to(request, key, first if first <= len(assigned) else "done")

    def examples(self, request: Request) -> Response:
        key = request.path_params["key"]
        first = self._assigned(key)[1]
        return self._page("examples.html", key=key, clips=self._study.examples, first=first)

    def ask(self, request: Request) -> Response:
        key, position = request.path_params["key"], request.path_params["position"]
        assigned, first = self._assigned(key)
        if not 1 <= position <= min(first, len(assigned)):  # the order is part of the study, so nobody goes ahead
            return self.go_on(request)
        following = assigned[position].clip if position < len(assigned) else ""
        return self._page(
            "clip.html", key=key, position=position, count=len(assigned), first=first, following=following,
            clip=assigned[position - 1].clip, given=assigned[position - 1].score, examples=bool(self._study.examples),
        )  # fmt: skip

    async def answer(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool
        from starlette.exceptions import HTTPException

        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                raise HTTPException(413, "A rating is one number; this was more.")
        given = parse_qs(body.decode("ascii", "replace")).get("score", [""])[0]
        if given not in map(str, range(LOWEST, HIGHEST + 1)):
            raise HTTPException(400, f"A rating is a whole number from {LOWEST} to {HIGHEST}.")
        return await run_in_threadpool(self._save, request, int(given))

    def _save(self, request: Request, score: int) -> Response:
        key, position = request.path_params["key"], request.path_params["position"]
        assigned, first = self._assigned(key)
        if position <= min(first, len(assigned)):
            self._ratings.rate(key, position, score)
        return self.go_on(request)

    def clip(self, request: Request) -> Response:
        from starlette.exceptions import HTTPException
        from starlette.responses import Response

        name = request.path_params["clip"]
        try:
            content = (self._clips / name).read_bytes() if name in self._known else None
        except OSError as error:
            raise NotSavedError(f"{self._clips / name} cannot be read ({error.strerror})") from error
        if content is None:
            raise HTTPException(404, "There is no such clip.")
        # Without a time of last change, which could tell clips apart.
        headers = {**_HEADERS, "cache-control": f"private, max-age={_YEAR}, immutable"}
        return Response(content, media_type="image/webp", headers=headers)

    def done(self, request: Request) -> Response:
        key = request.path_params["key"]
        assigned, first = self._assigned(key)
        if first <= len(assigned):
            return self.go_on(request)
        return self._page("done.html", key=key, count=len(assigned))

    def refuse(self, request: Request, error: Exception) -> Response:
        """What is wrong with a request, as a page."""
        from http import HTTPStatus

        from starlette.exceptions import HTTPException

        assert isinstance(error, HTTPException)
        said = error.detail
        if said == HTTPStatus(error.status_code).phrase:  # starlette's own; nobody but a rater reads it
            said = "There is nothing at this address; open the whole link that you were given."
        return self._sorry(request, error.status_code, said)

    def apologise(self, request: Request, error: Exception) -> Response:
        """Nothing can be saved. What the matter is, the organiser is told."""
        print(f"syncdraw: error: {error}", file=sys.stderr, flush=True)
        return self._sorry(
            request,
            503,
            "Ratings cannot be saved at the moment; please tell whoever gave you the link. "
            "What you have rated before is kept.",
        )

    def _sorry(self, request: Request, status: int, message: str) -> Response:
        from starlette.responses import JSONResponse

        if _from_script(request):
            return JSONResponse({"message": message}, status)
        return self._page("sorry.html", status, message=message)


def _from_script(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")
