from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from georeset_lab.dashboard import command
from georeset_lab.errors import InvalidOption

ROOT = Path(__file__).parents[2]


def parse(*argv):
    parser = argparse.ArgumentParser()
    command.add_serve(parser.add_subparsers(required=True))
    return parser.parse_args(["serve", *argv])


@pytest.fixture
def run(monkeypatch):
    """Arguments -> what `build_server` was called with."""
    seen = {}

    class Server:
        port = 4321

    def build(sources, **options):
        seen.update(options, sources=sources)
        return Server()

    monkeypatch.setattr("georeset_lab.dashboard.server.build_server", build)
    monkeypatch.setattr("georeset_lab.dashboard.server.run_server", lambda server: seen.update(ran=server))

    def go(*argv):
        args = parse(*argv)
        args.run(args)
        return seen

    return go


def test_without_arguments_it_serves_this_machine_alone(run, capsys):
    seen = run()
    assert (seen["sources"], seen["address"], seen["port"], seen["uploads"]) == ([], "localhost", 5006, True)
    assert (seen["allow_websocket_origin"], seen["basic_auth"], seen["oauth"]) == (None, None, {})
    assert "http://localhost:4321/" in capsys.readouterr().out
    assert seen["ran"].port == 4321


def test_every_flag_arrives(run, capsys):
    seen = run(
        "a", "b.zarr", "--port", "0", "--address", "0.0.0.0", "--allow-websocket-origin", "x.org",
        "--allow-websocket-origin", "y.org", "--prefix", "/hub/x/", "--no-uploads", "--max-upload-mb", "5",
        "--max-pages", "3", "--memory", "100", "--web-maps", "--model", "m", "--keep-in", "k", "--basic-auth", "pw",
        "--cookie-secret", "c", "--show",
    )  # fmt: skip
    assert seen["sources"] == ["a", "b.zarr"]
    assert seen["allow_websocket_origin"] == ["x.org", "y.org"]
    assert (seen["uploads"], seen["web_maps"], seen["show"]) == (False, True, True)
    assert (seen["max_upload_mb"], seen["max_pages"], seen["memory_mb"]) == (5, 3, 100)
    assert (seen["model"], seen["keep_in"], seen["basic_auth"], seen["cookie_secret"]) == ("m", "k", "pw", "c")
    assert "http://0.0.0.0:4321/hub/x/" in capsys.readouterr().out


def test_oauth_flags_keep_panels_names(run):
    seen = run("--oauth-provider", "github", "--oauth-key", "k", "--oauth-extra-params", '{"tenant": "t"}')
    assert seen["oauth"] == {"oauth_provider": "github", "oauth_key": "k", "oauth_extra_params": {"tenant": "t"}}
    with pytest.raises(InvalidOption, match="not JSON"):
        run("--oauth-extra-params", "{")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_and_ends_when_told_leaving_no_uploads(tmp_path, how):
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "georeset_lab", "serve", "--port", "0", "--keep-in", str(tmp_path / "kept")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "Loading ...\n"
        address = process.stdout.readline().split()[1]
        with urlopen(address, timeout=60) as answer:
            assert answer.status == 200
        assert list(tmp_path.glob("georeset-uploads-*"))
        process.send_signal(how)
        assert process.wait(30) == 0
        assert not list(tmp_path.glob("georeset-uploads-*"))
    finally:
        process.kill()
        process.wait()
