"""The demo's server: a page that says that it is starting, until Gradio and torch are there; then the demo.

Importing Gradio and torch takes several seconds, so the port answers before.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from syncdraw.apps.listening import is_local, link_to, listen
from syncdraw.errors import UserError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from syncdraw.apps.demo.kept import Kept
    from syncdraw.apps.demo.studio import Studio

_UPLOAD = "50mb"
_STARTING = Path(__file__).parent / "page" / "starting.html"
_OWN = "'self' 'unsafe-inline' data: blob:"
_HEADERS = {
    # Gradio's page makes functions out of text; nothing comes from elsewhere.
    "content-security-policy": f"default-src {_OWN}; script-src {_OWN} 'unsafe-eval'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",  # the address may hold the token
    "x-content-type-options": "nosniff",
}


def serve_demo(models: Sequence[str] = (), host: str = "localhost", port: int = 7860) -> None:
    """Let people draw in their browsers, until Ctrl-C: prints the link.

    Args:
        models: run folders, or other models beside those that ship.
        host: whom to serve. localhost is this machine alone, and its users may name any run folder in the page.
            0.0.0.0 is every machine that can reach this one; the link then holds a token, without which nobody gets
            in, and visitors may choose among `models` and the shipped ones.
        port: of the link.

    Raises:
        UserError: the port is in use, or one of the models is not there.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the demo needs the extra app: pip install 'syncdraw[app]'")
    import uvicorn

    for name in models:
        if not Path(name).is_dir():
            from syncdraw import pretrained

            pretrained.find(name)
    token = None if is_local(host) else secrets.token_urlsafe(16)
    listening = listen(host, port)
    demo = Demo(models, token)
    server = uvicorn.Server(
        uvicorn.Config(
            demo.application(), log_level="critical", access_log=False, lifespan="on", server_header=False,
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    demo.on_failure = lambda: setattr(server, "should_exit", True)
    print(f"open {link_to(listening, host, token)}")
    print("Ctrl-C stops", flush=True)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
    if demo.failure is not None:
        raise demo.failure
    print("stopped")


class Demo:
    """The demo as an ASGI application.

    Args:
        models: as for `serve_demo`.
        token: what every address begins with; None for none, which lets in this machine's own browsers alone.
    """

    def __init__(self, models: Sequence[str] = (), token: str | None = None) -> None:
        self._models, self._token = models, token
        self._page: ASGIApp | None = None
        self._studio: Studio | None = None
        self._kept: Kept | None = None
        self.failure: Exception | None = None
        self.on_failure: Any = lambda: None

    def application(self) -> Starlette:
        """To be served."""
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.routing import Mount, Route

        routes = [
            Route("/ready", self._ready),
            Route("/kept/{key}/{name}", self._download),
            Mount("/", self._shown),
        ]
        # Another site's script can make a name of its own stand for this machine; its requests bear that name.
        names = ["*"] if self._token else ["localhost", "127.0.0.1", "[::1]"]
        return Starlette(
            routes=[Mount(f"/{self._token}", routes=routes)] if self._token else routes,
            lifespan=self._lifespan,
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=names), Middleware(_Headers)],
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        ended = asyncio.Event()
        running = asyncio.create_task(self._run(ended))
        try:
            yield
        finally:
            ended.set()
            await running

    async def _run(self, ended: asyncio.Event) -> None:
        try:
            page = await asyncio.to_thread(self._build)
            async with page.router.lifespan_context(page):
                self._page = page
                await ended.wait()
        except Exception as error:
            self.failure = error
            self.on_failure()

    def _build(self) -> Any:
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        import fastapi
        import gradio

        from syncdraw.apps.demo import page
        from syncdraw.apps.demo.kept import Kept
        from syncdraw.apps.demo.studio import Studio

        self._studio = Studio(self._models, any_folder=self._token is None)
        self._studio.warm_up()
        self._kept = Kept()
        blocks = page.build_page(self._studio, self._kept)
        return gradio.mount_gradio_app(
            fastapi.FastAPI(openapi_url=None), blocks, "/", footer_links=[], run_history=False, show_error=False,
            max_file_size=_UPLOAD, ssr_mode=False, theme=page.theme(), css_paths=page.PARTS / "page.css", pwa=False,
        )  # fmt: skip

    async def _ready(self, _: Request) -> Response:
        from starlette.responses import Response

        return Response(status_code=200 if self._page else 202)

    async def _shown(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import FileResponse

        page = self._page or FileResponse(_STARTING, headers={"cache-control": "no-store"})
        await page(scope, receive, send)

    async def _download(self, request: Request) -> Response:
        """A work in a file of the format that the name's suffix says."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import PlainTextResponse, Response

        from syncdraw.apps.demo.page import FORMATS

        suffix = Path(request.path_params["name"]).suffix
        work = self._kept.get(request.path_params["key"]) if self._kept else None
        if work is None or suffix not in FORMATS or self._studio is None:
            return PlainTextResponse("This clip is not kept any more; draw it again.", 404)
        write, studio = work.write, self._studio

        def content() -> bytes:
            with TemporaryDirectory(prefix="syncdraw-demo-") as folder:
                path = Path(folder) / f"clip{suffix}"
                studio.compute(lambda: write(path))
                return path.read_bytes()

        try:
            made = await run_in_threadpool(content)
        except UserError as error:
            return PlainTextResponse(f"{error}.", 400)
        kind = "video" if suffix == ".mp4" else "image"
        headers = {"content-disposition": f'attachment; filename="{work.name}{suffix}"'}
        return Response(made, media_type=f"{kind}/{suffix[1:]}", headers=headers)


class _Headers:
    """Puts the demo's headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
