"""What yt-dlp says, by class. The words are YouTube's, put together as yt-dlp's extractors do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import DownloadError, ExtractorError

from datagen.download.answers import RETRIED, Incomplete, classify, plain, retry_after
from datagen.download.fetch import FetchOptions, _downloader, _params

LOGIN = (
    "Use --cookies-from-browser or --cookies for the authentication. See  "
    "https://github.com/yt-dlp/yt-dlp/wiki/FAQ"
    "#how-do-i-pass-cookies-to-yt-dlp  for how to manually pass cookies. Also see  "
    "https://github.com/yt-dlp/yt-dlp/wiki/"
    "Extractors#exporting-youtube-cookies  for tips on effectively exporting YouTube cookies"
)
SAID = [
    ("removed", "Video unavailable"),
    ("removed", "Video unavailable. This video has been removed by the uploader"),
    ("removed", "This video has been removed for violating YouTube's Terms of Service"),
    ("removed", "This video has been removed for violating YouTube's policy on hate speech."),
    ("removed", "This video does not exist."),
    (
        "removed",
        "Video unavailable. This video is no longer available because the YouTube "
        "account associated with this "
        "video has been terminated.",
    ),
    (
        "removed",
        "Video unavailable. This video is no longer available due to a copyright claim "
        "by Some Label",
    ),
    (
        "removed",
        "Video unavailable. This video contains content from Label, who has blocked it "
        "on copyright grounds",
    ),
    (
        "removed",
        "Unable to download webpage: HTTP Error 404: Not Found (caused by <HTTPError "
        "404: Not Found>)",
    ),
    (
        "removed",
        "Unable to download webpage: HTTP Error 410: Gone (caused by <HTTPError 410: Gone>)",
    ),
    ("private", f"Private video. Sign in if you've been granted access to this video. {LOGIN}"),
    ("private", "This video is private"),
    ("geo", "Video unavailable. The uploader has not made this video available in your country"),
    (
        "geo",
        "Video unavailable. This video contains content from Label, who has blocked it "
        "in your country on "
        "copyright grounds",
    ),
    ("geo", "This video is not available from your location due to geo restriction"),
    (
        "age",
        f"Sign in to confirm your age. This video may be inappropriate for some users. {LOGIN}",
    ),
    ("age", "This video is age-restricted and only available on YouTube"),
    (
        "members",
        "Join this channel to get access to members-only content like this video, and "
        "other exclusive perks.",
    ),
    (
        "members",
        "This video is available to this channel's members on level: Friend (or any higher level).",
    ),
    ("members", "This video is only available to Music Premium members"),
    ("members", "This video requires payment to watch"),
    ("members", "This video is DRM protected"),
    ("blocked", f"Sign in to confirm you’re not a bot. {LOGIN}"),
    ("blocked", f"Sign in to confirm you're not a bot. {LOGIN}"),
    ("blocked", "Video unavailable. YouTube is requiring a captcha challenge before playback"),
    (
        "blocked",
        "Video unavailable. This content isn't available, try again later. The current "
        "session has been rate-limited "
        "by YouTube for up to an hour. It is recommended to use `-t sleep` to add a "
        "delay between video requests to "
        "avoid exceeding the rate limit. For more information, refer to  "
        "https://github.com/yt-dlp/yt-dlp/wiki",
    ),
    (
        "blocked",
        "Unable to download API page: HTTP Error 429: Too Many Requests (caused by "
        "<HTTPError 429>)",
    ),
    ("blocked", "unable to download video data: HTTP Error 403: Forbidden"),
    (
        "blocked",
        "Got HTTP Error 403 caused by Cloudflare anti-bot challenge; see  https://x  for how to",
    ),
    ("unavailable", "Video unavailable. This video is not available"),
    ("unavailable", "This live event will begin in 3 days."),
    ("unavailable", "Premieres in 2 hours"),
    ("unavailable", "We're processing this video. Check back later."),
    ("unavailable", "The page needs to be reloaded."),
    (
        "unavailable",
        "Requested format is not available. Use --list-formats for a list of available formats",
    ),
    ("unavailable", "Unable to download webpage: HTTP Error 503: Service Unavailable"),
    ("unavailable", "unable to download video data: HTTP Error 404: Not Found"),
    ("unavailable", "Unable to download webpage: <urlopen error timed out>"),
    (
        "unavailable",
        "Failed to extract any player response; please report this issue on  https://x  "
        "filling out",
    ),
    ("unavailable", f"Please sign in. {LOGIN}"),
    ("unavailable", "Postprocessing: Conversion failed!"),
    ("unavailable", "words that nobody has seen before"),
    (
        "incomplete",
        "\r[download] Got error: 21000 bytes read, 21093 more expected. Giving up after 3 retries",
    ),
    (
        "incomplete",
        "\r[download] Got error: Downloaded 100 bytes, expected 200 bytes. Giving up "
        "after 3 retries",
    ),
]


@pytest.mark.parametrize(
    ("outcome", "message"), SAID, ids=[f"{name}-{n}" for n, (name, _) in enumerate(SAID)]
)
def test_every_message_has_its_class(outcome, message):
    assert classify(DownloadError(f"ERROR: [youtube] -_abcDEF012: {message}")).outcome == outcome


def test_a_refusing_host_is_trouble_and_never_counts_against_a_video():
    everywhere = (
        "503",
        "timed out",
        "player response",
        "Please sign in",
        "Conversion",
        "reloaded",
        "format is not",
    )
    for outcome, message in SAID:
        answer = classify(DownloadError(f"ERROR: [youtube] -_abcDEF012: {message}"))
        assert answer.is_trouble == (
            outcome == "blocked" or any(words in message for words in everywhere)
        ), message
        assert answer.counts == (RETRIED[outcome] == "tries" and not answer.is_trouble), message


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (ExtractorError("Video unavailable", expected=True), "removed"),
        (ExtractorError("Sign in to confirm you’re not a bot", expected=True), "blocked"),
        (lambda ie: ie.raise_geo_restricted(countries=["DE"]), "geo"),
        (lambda ie: ie.raise_geo_restricted("words of another host"), "geo"),
        (lambda ie: ie.report_drm("x"), "members"),
        (lambda ie: ie.raise_login_required("This video is private"), "private"),
        (Incomplete("the file's length is not as announced"), "incomplete"),
        (TimeoutError("timed out"), "unavailable"),
        (KeyError("videoDetails"), "unavailable"),
    ],
)
def test_errors_keep_their_class_on_their_way_through_the_downloader(tmp_path, raised, outcome):
    class FailingIE(InfoExtractor):
        _VALID_URL = r"https://example\.com/.*"

        def _real_extract(self, url):
            if isinstance(raised, Exception):
                raise raised
            raised(self)

    options = FetchOptions("https://example.com/{id}")
    with _downloader()(_params(tmp_path, options, lambda *_: None), options) as ydl:
        ydl._ies.clear()
        ydl.add_info_extractor(FailingIE())
        with pytest.raises(Exception) as error:
            ydl.extract_info("https://example.com/x", download=True)
    assert classify(error.value).outcome == outcome


def test_equal_reasons_have_equal_words():
    message = (
        "\x1b[0;31mERROR:\x1b[0m [youtube] -_abcDEF012: Private video. Sign in. Use "
        "--cookies and so on"
    )
    assert (
        plain(message)
        == plain("ERROR: [youtube] other000000: Private video. Sign in")
        == "Private video. Sign in"
    )
    assert plain("a\x1b]0;title\x07b\u202ec\n") == "a ]0;title b c"


def test_pauses_that_a_host_asks_for():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("120") == 120
    assert retry_after("Thu, 01 Jan 2026 00:00:30 GMT", now) == 30
    assert retry_after("Thu, 01 Jan 2020 00:00:00 GMT", now) == 0
    assert retry_after("9" * 400) == float("inf")
    assert retry_after("Thu, 01 Jan 99999999999999999999 00:00:30 GMT", now) is None
    assert retry_after("soon") is None and retry_after(None) is None and retry_after("-5") is None
