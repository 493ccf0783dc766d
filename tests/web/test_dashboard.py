# ruff: noqa: RUF001 - Chinese has its own punctuation

import json

import pytest

from bucketpull.web.dashboard import listen


def bearer(served):
    return {"Authorization": f"Bearer {served.token}"}


def test_the_page_comes_with_headers_that_allow_its_own_files_only(serve):
    served = serve()

    for path in ("/", "/static/app.js", "/api/snapshot", "/metrics", "/nothing"):
        _, headers, _ = served.ask("GET", path)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_the_page_asks_for_nothing_from_elsewhere(serve):
    served = serve()

    for name, content in served.dashboard._static.items():
        text = content.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"http://" not in text, name
        assert b"https://" not in text, name
        assert b"innerHTML" not in text, name


@pytest.mark.parametrize(
    "path", ["/static/../dashboard.py", "/static/%2e%2e%2fdashboard.py", "/static/", "/api/", "/x"]
)
def test_there_is_nothing_but_its_own_files(serve, path):
    status, _, _ = serve().ask("GET", path)

    assert status == 404


def test_the_snapshot_is_there_for_all_on_this_machine(serve):
    status, _, snapshot = serve().ask("GET", "/api/snapshot")

    assert status == 200
    assert snapshot["state"] == "transferring"
    assert snapshot["counters"]["stored"] > 10**8


def test_notes_and_details_are_chinese_on_demand(serve):
    served = serve()

    def first(path):
        return served.ask("GET", path)[2]["notes"][0]["text"]

    assert first("/api/snapshot") == "volume /mnt/disk4 (5d20c1f7ab93) was added"
    assert first("/api/snapshot?language=zh") == "已添加磁盘 /mnt/disk4（5d20c1f7ab93）"


def test_the_points_of_the_charts_are_there_fine_since_a_time_and_coarse(serve):
    served = serve()

    _, _, fine = served.ask("GET", "/api/points")
    _, _, later = served.ask("GET", f"/api/points?since={fine[-9]['at']}")
    _, _, coarse = served.ask("GET", "/api/points?coarse=1")

    assert len(fine) > 500
    assert later[0]["at"] > fine[-9]["at"]
    assert fine[-1] in later
    assert 0 < len(coarse) < 600


def test_failures_have_the_last_answer_the_meaning_and_the_remedy(serve):
    served = serve()

    _, _, failures = served.ask("GET", "/api/failures?reason=forbidden&limit=2&language=zh")

    assert len(failures) == 2
    assert failures[0] == {
        "key": "products/2023/a-0009.jpg",
        "listing": False,
        "size": 41_233,
        "reason": "forbidden",
        "meaning": "源站或其 CDN 拒绝给出该对象（权限、防盗链、令牌）",
        "remedy": "授予读取权限，或允许本机访问；对又拍云的 CDN，设置 UPYUN_TOKEN_SECRET",
        "attempts": 6,
        "status": 403,
        "detail": "<html><title>403 Forbidden</title> hotlink protection",
    }


def test_directories_are_asked_for_by_the_bytes_of_their_key(serve):
    served = serve()

    _, _, root = served.ask("GET", "/api/directories")
    _, _, below = served.ask("GET", f"/api/directories?prefix={b'products'.hex()}")

    assert [item["name"] for item in root["directories"]] == ["avatars", "products", "uploads", "照片"]
    assert root["directories"][3]["directory"] == "照片".encode().hex()
    assert [item["name"] for item in below["directories"]] == ["2021", "2022", "2023", "2024"]
    assert below["more"] is False


@pytest.mark.parametrize(
    "path",
    [
        "/api/failures?reason=nonsense",
        "/api/failures?limit=x",
        "/api/directories?prefix=zz",
        "/api/points?since=x",
    ],
)
def test_bad_questions_get_400_and_a_sentence(serve, path):
    status, _, answer = serve().ask("GET", path)

    assert status == 400
    assert answer["error"]


@pytest.mark.parametrize("path", ["pause", "resume", "stop", "limits", "retry"])
def test_no_change_without_the_token_nor_from_another_site(serve, path):
    served = serve()
    body = "{}"

    without, _, _ = served.ask("POST", f"/api/{path}", body)
    foreign, _, _ = served.ask("POST", f"/api/{path}", body, Origin="http://evil.example", **bearer(served))
    marked, _, _ = served.ask("POST", f"/api/{path}", body, Sec_Fetch_Site="cross-site", **bearer(served))
    asked, _, _ = served.ask("OPTIONS", f"/api/{path}", Origin="http://evil.example")
    read, _, _ = served.ask("GET", f"/api/{path}")

    assert (without, foreign, marked, asked, read) == (401, 403, 403, 403, 405)
    assert served.panel.calls == []


def test_changes_with_the_token_reach_the_job(serve):
    served = serve()

    paused, _, _ = served.ask("POST", "/api/pause", "{}", **bearer(served))
    limited, _, _ = served.ask(
        "POST", "/api/limits", '{"concurrency": 9, "requests_per_second": null}', **bearer(served)
    )
    retried, _, answer = served.ask("POST", "/api/retry", '{"reason": "missing"}', **bearer(served))

    assert (paused, limited, retried) == (200, 200, 200)
    assert answer == {"objects": 9}
    assert served.panel.limits.concurrency == 9
    assert served.panel.limits.paused  # changing a limit ends no pause
    assert served.panel.limits.requests_per_second is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("limits", '{"concurrency": 0}'),
        ("limits", '{"bytes_per_second": -1}'),
        ("limits", '{"concurency": 5}'),
        ("limits", "not json"),
        ("retry", '{"reason": "nonsense"}'),
    ],
)
def test_bad_changes_change_nothing(serve, path, body):
    served = serve()

    status, _, answer = served.ask("POST", f"/api/{path}", body, **bearer(served))

    assert status == 400
    assert answer["error"]
    assert served.panel.calls == []


@pytest.mark.parametrize("path", ["pause", "resume", "stop", "limits", "retry"])
def test_a_job_that_has_ended_takes_no_changes_while_its_page_is_still_there(serve, path):
    served = serve()
    served.has_ended = True

    status, _, answer = served.ask("POST", f"/api/{path}", "{}", **bearer(served))

    assert (status, answer["error"][:18]) == (409, "the job has ended;")
    assert served.panel.calls == []


def test_a_name_that_was_made_to_point_here_shows_nothing(serve):
    status, _, answer = serve().ask("GET", "/api/snapshot", Host="rebound.example")

    assert (status, list(answer)) == (403, ["error"])


def test_bound_to_every_address_looking_needs_the_token_and_the_page_does_not(serve):
    served = serve(host="0.0.0.0")

    assert served.ask("GET", "/")[0] == 200
    assert served.ask("GET", "/api/snapshot")[0] == 401
    assert served.ask("GET", "/metrics")[0] == 401
    assert served.ask("GET", "/api/snapshot", **bearer(served))[0] == 200
    assert served.ask("GET", "/metrics", **bearer(served))[0] == 200
    assert "0.0.0.0" not in served.address


def test_the_metrics_are_prometheus_text(serve):
    status, headers, body = serve().ask("GET", "/metrics")

    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# TYPE bucketpull_objects_total counter\n" in body


def test_a_taken_port_is_an_error_at_the_start(serve):
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        listen("127.0.0.1", serve().port)


def test_no_answer_bears_the_token(serve):
    served = serve()

    for path in ("/", "/static/api.js", "/api/snapshot", "/api/failures", "/metrics"):
        body = served.ask("GET", path)[2]
        assert served.token not in (body.decode() if isinstance(body, bytes) else json.dumps(body))


def test_what_was_changed_and_what_is_refused_is_said_in_the_language_of_the_page(serve):
    served = serve()

    def said(path, body="{}"):
        return served.ask("POST", path, body, **bearer(served))[2]

    assert said("/api/resume") == {"text": "the job goes on"}
    assert said("/api/resume?language=zh") == {"text": "任务继续"}
    refused = said("/api/volumes/lost?language=zh", '{"volume": "none"}')
    assert refused["error"] == "磁盘 none：任务中没有这个编号；`bucketpull volumes` 可列出"
    elsewhere = said("/api/volumes/add?language=zh", '{"volume": "/elsewhere"}')
    assert elsewhere["error"].startswith("磁盘 /elsewhere：")
