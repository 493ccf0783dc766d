"""The page in a real browser. With BUCKETPULL_IMAGES=DIR the screenshots are written there (docs/images is made so)."""

import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from bucketpull.domain.endpoints import State
from bucketpull.domain.status import EndpointStatus

ROWS = "return document.querySelectorAll('[role=treeitem]').length"
READY = "return document.querySelector('#share').textContent !== '' && document.querySelector('#f-objects').textContent"


@pytest.fixture
def images(tmp_path):
    return Path(os.environ.get("BUCKETPULL_IMAGES", tmp_path))


@pytest.fixture
def page(serve, browser):
    """A served job, open in a browser at desktop width with the token."""
    served = serve()
    browser.emulate(1360, 900)
    browser.open(served.address)
    browser.wait(READY)
    yield served, browser
    assert browser.errors() == []


def number(text):
    return int(re.sub(r"\D", "", text))


def test_the_page_shows_a_running_job_and_its_figures_change(page):
    _, browser = page

    body = browser.text("body")
    for fact in (
        "upyun://photos",
        "transferring",
        "of 10.0 TB",
        "alpha:/mnt/disk2",
        "input/output error",
        "disks",
        "6.00 TB received, 181,000,000 requests in all runs",
        "wasted: stalled 40.0 GB, truncated 3.00 GB",
        "cost 1,921.00",
    ):
        assert fact in body
    assert re.search(r"written \d[\d,.]*/s", body)  # of the stages of an object's way
    assert re.search(r"\d+ h \d+ min left\s+ends .+ to ", body)
    stored = "return document.querySelectorAll('#books dd')[1].textContent"
    before = browser.run(stored)
    browser.wait("return document.querySelectorAll('#books dd')[1].textContent !== arguments[0]", before)
    assert number(browser.run(stored)) > number(before)


def test_all_figures_have_their_headings_at_one_height_where_one_has_more_to_say(page):
    _, browser = page

    browser.run("document.querySelector('#f-lanes').style.height = '200px'")

    heights = "return new Set([...document.querySelectorAll('.figure h3')].map((each) => each.getBoundingClientRect().top)).size"
    assert browser.run(heights) == 1


def test_the_page_says_for_which_machine_all_that_is_left_waits(page):
    served, browser = page
    outstanding = served.panel._outstanding
    served.panel._outstanding = lambda: msgspec.structs.replace(outstanding(), waits_for=["gamma"])

    browser.wait(
        "return document.querySelector('#band').textContent === 'what is left waits for machine gamma'"
    )
    assert browser.text("#eta") == "Waiting"


def test_the_page_says_for_which_endpoint_the_job_waits_and_how_long(page):
    served, browser = page
    down = EndpointStatus(0, 4.0, 15, 0, 1.0, state=State.DOWN, state_seconds=2400.0)
    machine = served.panel._machine
    served.panel._machine = lambda *about: msgspec.structs.replace(machine(*about), endpoints={"list": down})

    browser.wait(
        "return document.querySelector('#band').textContent === 'for the source: list (down 40 min)'"
    )
    assert browser.text("#eta") == "Waiting"


def test_the_charts_are_drawn_and_are_read_with_the_keyboard(page):
    _, browser = page
    inked = """
        const canvas = document.querySelectorAll('.chart canvas')[arguments[0]];
        if (!canvas.width) return 0;
        const data = canvas.getContext('2d').getImageData(60, 10, canvas.width - 70, canvas.height - 40).data;
        let inked = 0;
        for (let i = 3; i < data.length; i += 4) if (data[i]) inked += 1;
        return inked;
    """

    for chart in range(5):
        browser.wait(f"return (() => {{ {inked} }})() > 200", chart)
    browser.run("document.querySelector('.chart canvas').focus()")
    browser.press("\ue012")

    assert re.fullmatch(r"\d\d:\d\d:\d\d · [\d,]+/s", browser.text(".chart output"))


def test_the_token_leaves_the_address_and_is_not_in_the_page(page):
    served, browser = page

    assert "#" not in browser.run("return location.href")
    assert served.token not in browser.run("return document.documentElement.outerHTML")


def test_pause_and_resume_work_by_button_and_by_key(page):
    served, browser = page

    browser.click("#pause")
    browser.wait("return document.querySelector('#state').textContent === 'paused'")
    assert served.panel.calls == ["pause"]
    browser.wait("return document.querySelector('#f-objects').textContent === '0'")
    browser.press("p")
    browser.wait("return document.querySelector('#state').textContent === 'transferring'")

    assert served.panel.calls == ["pause", "resume"]


# Holds back the next snapshot that the page gets by itself, and notes each state that it shows after the button was pressed.
LATE_SNAPSHOT = """
const send = window.fetch;
window.held = null;
window.states = [];
window.fetch = async (path, options) => {
  const answer = await send(path, options);
  if (!window.held && String(path).includes("api/snapshot")) await new Promise((resolve) => { window.held = resolve; });
  return answer;
};
new MutationObserver(() => window.states.push(document.querySelector("#state").textContent))
  .observe(document.querySelector("#state"), { childList: true, characterData: true, subtree: true });
"""


def test_a_snapshot_that_comes_late_does_not_replace_a_newer_one(page):
    _, browser = page
    browser.run(LATE_SNAPSHOT)
    browser.wait("return window.held !== null")

    browser.click("#pause")
    browser.wait("return window.states.at(-1) === 'paused'")
    figures = browser.run("return document.querySelector('#updated').textContent")
    browser.run("window.held()")
    browser.wait("return document.querySelector('#updated').textContent !== arguments[0]", figures)

    assert set(browser.run("return window.states")) == {"paused"}


def test_limits_are_changed_and_bad_ones_are_refused_in_the_dialog(page):
    served, browser = page

    browser.press("l")
    browser.wait("return document.querySelector('#limits').open")
    browser.type("#l-concurrency", "0")
    browser.click("#limits .primary")
    assert "above zero" in browser.text("#limits-error")
    browser.type("#l-concurrency", "64")
    browser.run("document.querySelector('#l-concurrency').value = '64'")
    browser.type("#l-bandwidth", "12.5\ue007")
    browser.wait("return !document.querySelector('#limits').open")
    browser.wait("return document.querySelector('#toast').textContent !== ''")

    limits = served.panel.limits
    assert (limits.concurrency, limits.requests_per_second, limits.bytes_per_second) == (64, 8000.0, 12.5e6)


def test_volumes_are_drained_and_added(page):
    served, browser = page

    browser.click("#volumes [data-action=drain]")
    browser.wait("return document.querySelector('#toast').textContent.includes('takes no new objects')")
    browser.click("#volume-open")
    browser.wait("return document.querySelector('#volume').open")
    browser.type("#v-path", "/mnt/disk9\ue007")
    browser.wait("return document.querySelector('#toast').textContent.includes('/mnt/disk9 is in use')")

    who = "the dashboard at 127.0.0.1"
    assert served.panel.calls == [("drain", "/mnt/disk1", who), ("add", "/mnt/disk9", who)]


def test_adding_a_volume_is_offered_only_where_the_command_line_allows_it(serve, browser):
    for below, offered in (["/mnt", "/srv"], True), ([], False):
        browser.open(serve(volumes_below=below).address)
        browser.wait(READY)
        browser.wait(
            "return performance.getEntriesByType('resource').some(each => each.name.endsWith('api/volumes/below'))"
        )
        browser.wait("return document.querySelector('#volume-open').hidden !== arguments[0]", offered)
        if offered:
            browser.click("#volume-open")
            assert "below /mnt, /srv" in browser.text("#volume-text")


def test_a_volume_is_given_up_after_a_question(page):
    served, browser = page

    browser.click("#volumes [data-action=lost]")
    assert "beta:/mnt/disk4" in browser.text("#confirm-title")
    browser.wait("return document.querySelector('#confirm').open")
    assert "/mnt/disk4" in browser.text("#confirm")
    browser.click("#confirm-yes")
    browser.wait("return document.querySelector('#toast').textContent.includes('is given up')")
    assert served.panel.calls == [("lost", "/mnt/disk4", "the dashboard at 127.0.0.1")]


def test_the_job_is_stopped_after_a_question(page):
    served, browser = page

    browser.click("#stop")
    browser.wait("return document.querySelector('#confirm').open")
    browser.click("#confirm [data-close]")
    browser.click("#stop")
    browser.click("#confirm-yes")
    browser.wait("return document.querySelector('#toast').textContent.includes('the job stops')")
    assert served.panel.calls == [("stop", "the dashboard at 127.0.0.1")]


def test_an_open_page_shows_how_the_job_ended_and_goes_on_with_it_when_it_is_started_again(page):
    served, browser = page

    served.panel.ended = "interrupted"
    browser.wait("return document.querySelector('#state').textContent === 'interrupted'")
    browser.wait("return !document.querySelector('#banner').hidden")
    assert browser.text("#machines") == "None at work."
    assert "Held back by" not in browser.text(".figures")
    served.panel.ended = ""

    browser.wait("return document.querySelector('#state').textContent === 'transferring'")
    browser.wait("return document.querySelector('#banner').hidden")
    assert "Held back by" in browser.text(".figures")


def test_a_page_that_is_opened_after_the_end_shows_charts_and_directories_too(serve, browser):
    served = serve()
    served.panel.ended = "complete"

    browser.open(served.address)

    browser.wait("return [...document.querySelectorAll('.chart h3')].every((title) => title.textContent)")
    browser.wait(ROWS)
    assert "`bucketpull dashboard` shows it again" in browser.text("#banner")
    assert browser.errors() == []


def test_a_chart_has_a_scale_whatever_its_peak_is(page):
    _, browser = page

    tops = browser.run("""
        const { niceTop } = await import('./static/chart.js');
        const peaks = [0, 0.3, 1, 9.9, 980, 995, 999.9, 1000, 9.85e6];
        return peaks.map((peak) => [peak, niceTop(peak)]);
    """)

    assert all(top is not None and peak < top <= max(1, 2 * peak) for peak, top in tops), tops


@pytest.mark.parametrize("width", [320, 390, 1360])
@pytest.mark.parametrize("seconds", [60, 1200, 200_000])
def test_the_times_below_a_chart_stand_apart(page, width, seconds):
    _, browser = page
    browser.emulate(width, 900, phone=width < 700)

    gaps = browser.run(
        """
        const { LineChart } = await import('./static/chart.js');
        const line = { of: () => 1, colour: '--accent', name: () => '' };
        const chart = new LineChart(() => '', String, [line, line]);
        document.getElementById('charts').replaceChildren(chart.element);
        const times = [], pen = CanvasRenderingContext2D.prototype, draw = pen.fillText;
        pen.fillText = function (text, x, y) {
          const long = this.measureText(text).width;
          const left = x - { left: 0, center: long / 2, right: long }[this.textAlign];
          if (y > chart.height - 10) times.push([left, left + long]);
        };
        chart.show([], arguments[0], 1_700_000_000);
        pen.fillText = draw;
        return times.slice(1).map(([left], before) => left - times[before][1]);
        """,
        seconds,
    )

    assert min(gaps) >= 8


def test_a_job_that_stands_still_is_not_said_to_have_room_for_more(page):
    served, browser = page
    assert not browser.run("return document.querySelector('#held-back').hidden")

    served.panel.standing = "no-room"

    browser.wait("return document.querySelector('#held-back').hidden")
    served.panel.standing = ""
    browser.wait("return !document.querySelector('#held-back').hidden")


def test_the_charts_show_what_an_earlier_coordinator_did(page):
    served, browser = page
    served.panel.begun = served.panel.now - 5

    browser.wait("return / \\d+ s$/.test(document.querySelector('#subtitle').innerText)")
    browser.run("""
        window.drawn = [];
        const draw = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...at) { drawn.push(text); draw.call(this, text, ...at); };
    """)
    labels = browser.wait("return drawn.length > 60 && drawn")
    assert [label for label in labels if re.fullmatch(r"\d\d:\d\d", label)]
    assert [label for label in labels if re.fullmatch(r"\d\d:\d\d:\d\d", label)] == [], (
        "a minute, with its seconds"
    )


def test_the_settings_show_version_source_and_cdn(page):
    _, browser = page

    browser.click("#tab-settings")
    browser.wait("return document.querySelector('.settings')")
    assert browser.text("#settings").split("\n") == [
        "version", "0.1.0", "source", "upyun://photos", "--cdn-url", "https://img.example.com", "layout", "key",
        "--price-per-gb", "0.29",
    ]  # fmt: skip


def test_failures_are_searched_and_those_that_are_found_tried_again(page):
    served, browser = page

    browser.click("#tab-failures")
    browser.wait("return document.querySelectorAll('.failure').length === 14")
    browser.type("#failures input", "a-0002")
    browser.wait("return document.querySelectorAll('.failure').length === 1")
    assert "a-0002.jpg" in browser.text(".failure")
    browser.click("#retry")
    browser.wait("return document.querySelector('#toast').textContent !== ''")
    assert served.panel.sought == ["*a-0002*"]


def test_why_an_object_failed_is_found_in_two_clicks_and_it_is_tried_again_with_a_third(page):
    served, browser = page

    browser.click("#f-failed-open")
    browser.wait("return document.querySelectorAll('.failure').length === 14")
    browser.click("[data-chip=forbidden]")
    browser.wait("return document.querySelectorAll('.failure').length === 4")
    failure = browser.text(".failure")
    browser.click("#retry")
    browser.wait("return document.querySelectorAll('.failure').length === 0")

    assert "products/2023/a-0009.jpg" in failure
    assert "status 403 · <html><title>403 Forbidden</title> hotlink protection" in failure
    assert "What to do: grant the right to read it, or allow this machine" in failure
    assert served.panel.calls == [("retry", "forbidden")]


def test_a_bucket_without_directories_is_told_from_one_that_is_not_listed_yet(page):
    served, browser = page

    async def directories(prefix, limit):
        return []

    served.panel.directories = directories
    counters = served.panel._counters

    browser.wait("return document.querySelector('#directories').innerText.includes('lie at the top')")
    served.panel._counters = lambda: msgspec.structs.replace(counters(), listed=0)
    browser.wait("return document.querySelector('#directories').innerText.includes('Nothing listed yet')")


def test_the_tree_of_directories_opens_by_click_and_by_key(page):
    _, browser = page
    focused = "return document.activeElement.querySelector('.name').innerText.trim()"

    browser.wait(f"{ROWS} === 4")
    browser.click("[role=treeitem]:nth-child(2)")
    browser.wait(f"{ROWS} === 8")
    browser.press("\ue015", "\ue015")  # down, down
    assert "2022" in browser.run(focused)
    browser.press("\ue012", "\ue012")  # left to the parent, and closed
    browser.wait(f"{ROWS} === 4")
    assert "products" in browser.run(focused)
    browser.press("\ue011", "\ue014")  # home, right
    browser.wait(f"{ROWS} === 7")

    assert "tmp<b>" in browser.text("#directories")


def test_the_page_is_chinese_on_demand_and_stays_so(page):
    _, browser = page

    browser.click("#language")
    browser.wait("return document.querySelector('#state').textContent === '传输中'")
    browser.run("location.reload()")
    browser.wait("return document.querySelector('#state').textContent === '传输中'")

    body = browser.text("body")
    assert "每秒对象数" in body
    assert "暂停" in browser.text("#pause")
    assert browser.run("return document.documentElement.lang") == "zh-CN"


def test_the_theme_follows_the_system_until_it_is_chosen(page):
    _, browser = page
    theme = "return document.documentElement.dataset.theme"

    browser.emulate(1360, 900, dark=True)
    browser.wait(f"{theme} === 'dark'")
    browser.click("#theme")

    assert browser.run(theme) == "light"


def test_without_the_token_the_page_shows_the_job_changes_nothing_and_says_how_to_get_the_rest(
    serve, browser
):
    served = serve()
    browser.emulate(1360, 900)
    browser.open(served.address.partition("#")[0])
    browser.wait(READY)

    assert browser.run("return document.querySelector('#pause').disabled")
    assert "You look without the token" in browser.text("#locked")
    browser.click("#unlock")
    browser.wait("return document.querySelector('#token').open")
    browser.type("#token-input", "not the token\ue007")
    browser.wait("return document.querySelector('#locked').hidden")
    browser.click("#pause")
    browser.wait("return document.querySelector('#token').open")  # it was refused
    browser.type("#token-input", served.token + "\ue007")
    browser.wait("return document.querySelector('#state').textContent === 'paused'")

    assert served.panel.calls == ["pause"]


@pytest.fixture
def other_site():
    """The address of a page that is not ours."""

    class Blank(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<link rel=icon href='data:,'><p>another site")

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_a_page_of_another_site_can_neither_read_nor_change_the_job(serve, browser, other_site):
    served = serve()
    browser.open(other_site)
    # It may even know the token: the browser asks before it sends the header, and gets no leave.
    attack = """
        const done = arguments[arguments.length - 1];
        const [address, token] = arguments;
        Promise.allSettled([
          fetch(address + 'api/snapshot').then((answer) => answer.text()),
          fetch(address + 'api/pause', {method: 'POST', headers: {Authorization: 'Bearer ' + token}, body: '{}'}),
          fetch(address + 'api/pause', {method: 'POST', mode: 'no-cors', body: '{}'}),
        ]).then((all) => done(all.map((one) => one.status)));
    """

    address = served.address.partition("#")[0]
    outcome = browser._ask("POST", "/execute/async", {"script": attack, "args": [address, served.token]})

    assert outcome == ["rejected"] * 3
    assert served.panel.calls == []
    # The request without questions did arrive, and was answered with a refusal that the page could not even read.
    assert any("NotSameOrigin" in entry["message"] for entry in browser.errors())


@pytest.mark.parametrize("width", [320, 390, 768, 1360])
def test_no_width_needs_sideways_scrolling(page, width):
    _, browser = page
    browser.emulate(width, 900, phone=width < 700)

    for tab in ("directories", "failures", "events", "settings"):
        browser.run(f"document.querySelector('#tab-{tab}').click()")
        browser.wait("return document.querySelector('[role=tabpanel]:not([hidden])').children.length > 0")
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [360, 390, 400])
def test_the_buttons_above_stand_in_one_line_on_a_phone(page, images, width):
    _, browser = page
    browser.emulate(width, 844, phone=True)
    is_line = """
        const boxes = [...document.querySelectorAll('.actions button')].map((each) => each.getBoundingClientRect());
        return Math.max(...boxes.map((box) => box.top)) < Math.min(...boxes.map((box) => box.bottom));
    """

    for shown in ("en", "zh"):
        browser.wait("return document.documentElement.lang.startsWith(arguments[0])", shown)
        browser.screenshot(images / f"buttons-{width}-{shown}.png", whole=False)
        assert browser.run(is_line)
        browser.click("#language")


@pytest.mark.parametrize(
    ("name", "width", "height", "dark", "tab", "top"),
    [
        ("dashboard", 1360, 1500, False, "directories", 0),
        ("dashboard-dark-failures", 1360, 1500, True, "failures", 0),
        ("dashboard-phone", 390, 844, False, "directories", 0),
        ("dashboard-phone-details", 390, 844, True, "directories", 99_999),
    ],
)
def test_screenshots_at_desktop_and_phone_width(serve, browser, images, name, width, height, dark, tab, top):
    served = serve()
    browser.emulate(width, height, phone=width < 700, dark=dark)
    browser.open(served.address)
    browser.wait(READY)
    browser.wait(f"{ROWS} === 4")
    browser.run("document.querySelector('[role=treeitem]:nth-child(2)').click()")
    browser.wait(f"{ROWS} === 8")
    browser.run(f"document.querySelector('#tab-{tab}').click()")
    browser.wait("return document.querySelector('[role=tabpanel]:not([hidden])').children.length > 0")
    browser.wait("return document.querySelector('.chart output').textContent !== ''")
    browser.wait(
        "const box = (id) => document.getElementById(id).clientWidth; return box('bar-done') > 0.59 * box('bar')"
    )

    browser.run("scrollTo(0, arguments[0])", top)
    browser.screenshot(images / f"{name}.png", whole=width > 700)

    assert (images / f"{name}.png").stat().st_size > 30_000
    assert browser.errors() == []
