"""Download one video with yt-dlp's Python API.

No shell, configuration file, plugin or cache is used, and all files stay below one folder.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from datagen.core.errors import UserError
from datagen.download.answers import Incomplete
from datagen.download.hosts import address, guard

EXTRACTORS = ["youtube", "generic"]
Watch = Callable[[str, int], None]  # (name of a partial file, its bytes); may raise


@dataclass(frozen=True)
class FetchOptions:
    """Download options: sizes in pixels, times in seconds, rates in bytes per second."""

    url: str
    height: int = 1080
    format: str | None = None
    rate_limit: int | None = None
    sleep_requests: float = 0.0
    retries: int = 3
    retry_sleep: float = 2.0
    socket_timeout: float = 30.0
    cookies: str | None = None
    proxy: str | None = None
    runtimes: tuple[str, ...] = ("deno", "node")
    allow_private: bool = False

    def check(self) -> None:
        """UserError if the address is not allowed, the cookies file or yt-dlp is missing."""
        try:
            import yt_dlp  # noqa: F401
        except ImportError:
            raise UserError("yt-dlp is not installed: pip install 'yt-dlp[default]'.") from None
        if self.cookies:
            _check_cookies(self.cookies)
        reason = guard(address(self.url, "x" * 11), self.allow_private, bool(self.proxy))
        if reason:
            raise UserError(f"--url {self.url}: {reason}; add --allow-private if that is meant.")

    def notes(self) -> list[str]:
        """What is missing for the best quality; downloads work without it."""
        found = []
        if not self.format and not ffmpeg():
            found.append(
                "ffmpeg is missing, so only low resolutions are available: pip install "
                "imageio-ffmpeg."
            )
        if "youtube.com" in self.url:
            runtime = any(map(shutil.which, self.runtimes)) and importlib.util.find_spec(
                "yt_dlp_ejs"
            )
            if not runtime:
                names = " or ".join(self.runtimes)
                found.append(
                    f"YouTube may refuse downloads without {names} and yt-dlp-ejs: pip "
                    "install 'yt-dlp[default]'."
                )
        return found


def fetch(
    options: FetchOptions, video: str, folder: Path, watch: Watch
) -> tuple[Path, dict[str, Any]]:
    """Download a whole video into `folder`; returns the file and the host's metadata.

    Raises what yt-dlp raises.
    """
    params = _params(folder, options, watch)
    with _downloader()(params, options) as ydl:
        info = ydl.extract_info(address(options.url, video), download=True)
    files = [
        item["filepath"]
        for item in (info or {}).get("requested_downloads") or []
        if item.get("filepath")
    ]
    if len(files) != 1 or not Path(files[0]).is_file():
        raise Incomplete("no file came")
    return Path(files[0]), info


def ffmpeg() -> str | None:
    """The ffmpeg program, which merges picture and sound: the system's, else imageio-ffmpeg's."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def _params(folder: Path, options: FetchOptions, watch: Watch) -> dict[str, object]:
    merger = ffmpeg()
    params: dict[str, object] = {
        "quiet": True,
        "noprogress": True,
        "logger": _Silent(),
        "outtmpl": {"default": str(folder).replace("%", "%%") + "/video.%(ext)s"},
        "format": options.format or ("bv*+ba/b" if merger else "b"),
        "format_sort": [f"res:{options.height}"],
        "merge_output_format": "mp4/mkv",
        "fixup": "never",
        "noplaylist": True,
        "allowed_extractors": EXTRACTORS,
        "cachedir": False,
        "updatetime": False,
        "hls_prefer_native": True,
        "skip_unavailable_fragments": False,
        "geo_bypass": False,
        "js_runtimes": {name: {} for name in options.runtimes},
        "retries": options.retries,
        "fragment_retries": options.retries,
        "retry_sleep_functions": dict.fromkeys(
            ("http", "fragment"), lambda n: min(options.retry_sleep * 2**n, 60) if n < 30 else 60
        ),
        "socket_timeout": options.socket_timeout,
        "progress_hooks": [lambda status: _hook(status, watch)],
        "match_filter": _refuse_live,
    }
    if options.rate_limit:
        params["ratelimit"] = options.rate_limit
    if options.sleep_requests:
        params["sleep_interval_requests"] = options.sleep_requests
    if options.proxy:
        params["proxy"] = options.proxy
    if options.cookies:  # a copy: yt-dlp writes what it is given
        params["cookiefile"] = io.StringIO(Path(options.cookies).read_text())
    if merger:
        params["ffmpeg_location"] = merger
    return params


def _hook(status: dict[str, Any], watch: Watch) -> None:
    """Report bytes as they arrive, and compare the final size with the announced one."""
    name = Path(status.get("filename") or "video").name
    total, there = status.get("total_bytes"), status.get("downloaded_bytes") or 0
    watch(name, int(max(total or 0, there)))
    if status.get("status") == "finished" and total and Path(status["filename"]).is_file():
        size = Path(status["filename"]).stat().st_size
        if size != total:
            raise Incomplete("the file's length is not as announced")


def _refuse_live(info: Mapping[str, object], *, incomplete: bool) -> None:
    """Refuse live streams, which have no end."""
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        raise Incomplete("a live event that is not over")


def _check_cookies(path: str) -> None:
    """UserError if yt-dlp cannot read them."""
    from http.cookiejar import LoadError

    from yt_dlp.cookies import YoutubeDLCookieJar

    try:
        jar = YoutubeDLCookieJar(io.StringIO(Path(path).read_text()))
        jar.load()
        if not len(jar):
            raise ValueError("it holds no cookies")
    except FileNotFoundError:
        raise UserError(
            f"--cookies {path}: no such file; export cookies.txt from a browser."
        ) from None
    except (LoadError, OSError, ValueError) as error:
        raise UserError(
            f"--cookies {path}: a cookies.txt in Netscape format is expected ({error})."
        ) from None


class _Silent:
    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


@cache
def _downloader() -> Any:
    """YoutubeDL that loads no plugins, contacts public hosts only, and refuses playlists."""
    from yt_dlp import YoutubeDL
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.networking.exceptions import RequestError

    plugin_dirs.value = []

    class GuardedYoutubeDL(YoutubeDL):
        def __init__(self, params: dict[str, object], options: FetchOptions):
            self._options = options
            super().__init__(params)

        def urlopen(self, req: Any) -> Any:
            self._guard(req if isinstance(req, str) else req.url)
            response = super().urlopen(req)
            self._guard(response.url)  # where redirects led
            return response

        def process_ie_result(
            self, ie_result: dict[str, Any], download: bool = True, extra_info: Any = None
        ) -> Any:
            if ie_result.get("_type") in ("playlist", "multi_video"):
                raise Incomplete("several videos where one is expected")
            return super().process_ie_result(ie_result, download, extra_info)

        def _guard(self, url: str) -> None:
            reason = guard(url, self._options.allow_private, bool(self._options.proxy))
            if reason:
                raise RequestError(f"not asked: {reason}")

    return GuardedYoutubeDL
