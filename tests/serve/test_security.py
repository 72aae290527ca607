"""What a stranger cannot do: nothing is switched on, and nothing is read as code, that nobody asked for."""

import ast
import json
import subprocess
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from alpamayo_client import AlpamayoClient, AlpamayoError, InvalidRequestError, Tls, UnavailableError
from alpamayo_client.cli import main as alpamayo
from alpamayo_model_repository.own_server import OWN_SERVER, OwnServer
from alpamayo_serve.endpoints import SWITCHED_OFF, Endpoints, restrictions
from launched import LOOPBACK, listening
from tritonclient.utils import InferenceServerException

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("model_repository", "export", "deploy", "client")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.fixture(scope="module")
def running(launch):
    launched = launch()
    launched.ports()
    yield launched
    assert launched.stop() == 0, launched.log


@pytest.fixture(params=["grpc", "http"])
def triton(request, running):
    module = {"grpc": grpcclient, "http": httpclient}[request.param]
    with module.InferenceServerClient(f"127.0.0.1:{running.ports()[request.param]}") as client:
        yield client


# What Triton offers to everybody by itself.


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("get_model_repository_index", ()),
        ("load_model", ("echo",)),
        ("unload_model", ("echo",)),
        ("get_trace_settings", ()),
        ("update_trace_settings", ()),
        ("get_log_settings", ()),
        ("update_log_settings", ({},)),
    ],
)
@pytest.mark.parametrize("value", [None, "", "nobody"])
def test_models_traces_and_logs_are_controlled_by_nobody(triton, call, arguments, value):
    header = "triton-grpc-protocol-nobody" if isinstance(triton, grpcclient.InferenceServerClient) else "nobody"
    with pytest.raises(InferenceServerException, match="restricted"):
        getattr(triton, call)(*arguments, headers=None if value is None else {header: value})


def test_nobody_has_traces_written_but_who_has_a_key(launch, tmp_path):
    """Triton writes them, into the file that the operator has named, when it ends."""
    file = tmp_path / "trace"
    traces = (f"--trace-config=triton,file={file}", "--trace-config=level=OFF")
    launched = launch("--", "--grpc-restricted-protocol=trace:key=secret", *traces)
    on = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1"}
    x = grpcclient.InferInput("x", [1], "FP32").set_data_from_numpy(np.float32([1]))
    with (
        httpclient.InferenceServerClient(f"127.0.0.1:{launched.ports()['http']}") as stranger,
        grpcclient.InferenceServerClient(f"127.0.0.1:{launched.ports()['grpc']}") as triton,
    ):
        with suppress(InferenceServerException):
            stranger.update_trace_settings(settings=on)
        triton.infer("echo", [x], request_id="the stranger asked for it")
        triton.update_trace_settings(settings=on, headers={"triton-grpc-protocol-key": "secret"})
        triton.infer("echo", [x], request_id="who has the key did")
    assert launched.stop() == 0, launched.log
    ids = [it["request_id"] for it in json.loads(file.read_text()) if "request_id" in it]
    assert ids == ["who has the key did"]


def test_what_clients_use_is_on(triton):
    assert triton.is_server_ready()
    assert triton.is_model_ready("echo")
    triton.get_model_config("echo")
    triton.get_inference_statistics()
    triton.get_system_shared_memory_status()


def test_shared_memory_can_be_closed(launch):
    """Which the client says, and what to do."""
    launched = launch("--", "--grpc-restricted-protocol=shared-memory:key=secret")
    url = f"127.0.0.1:{launched.ports()['grpc']}"
    frames, rotations = np.zeros((1, 1, 3, 64, 64), np.uint8), np.tile(np.eye(3), (16, 1, 1))
    refusal = pytest.raises(InvalidRequestError, match=r"shared_memory: .* refuses it .*leave shared_memory out")
    with AlpamayoClient(url, shared_memory="system") as client, refusal:
        client.predict(frames, np.zeros((16, 3)), rotations)
    assert not list(Path("/dev/shm").glob("alpamayo_client_*"))
    assert launched.stop() == 0, launched.log


def test_what_a_user_restricts_in_his_own_way_is_his():
    grpc, http = restrictions(["--grpc-restricted-protocol=inference,trace:key=mine", "--log-info=true"])
    assert grpc.startswith("--grpc-restricted-protocol=model-repository,logging:nobody=")
    assert http.startswith(f"--http-restricted-api={','.join(SWITCHED_OFF)}:nobody=")
    assert list(restrictions(["--http-restricted-api", "model-repository,trace:key=mine"]))[1].startswith(
        "--http-restricted-api=logging:nobody="
    )
    all_own = [f"{flag.partition('=')[0]}={','.join(SWITCHED_OFF)}:key=mine" for flag in (grpc, http)]
    assert list(restrictions(all_own)) == []


@pytest.mark.parametrize("key", ["../../etc/passwd", "/../../etc/passwd", "/etc/passwd"])
def test_shared_memory_is_no_way_to_files(triton, key):
    """A region's name is the one string of a request that the server opens something by."""
    with pytest.raises(InferenceServerException, match="Unable to open shared memory region"):
        triton.register_system_shared_memory("region", key, 16)


# Where it listens


def test_no_process_listens_beyond_loopback(running):
    pids = [running.process.pid, *running.processes()]
    assert len(pids) >= 3  # the launcher, the server, a stub
    assert listening(pids)
    assert listening(pids) <= LOOPBACK


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """Of 127.0.0.1 and localhost, signed by itself; and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "server.crt", folder / "server.key"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def test_tls(launch, certificate, capsys):
    file, key = certificate
    flags = ["--grpc-use-ssl=true", f"--grpc-server-cert={file}", f"--grpc-server-key={key}"]
    launched = launch("--", *flags)
    url = f"127.0.0.1:{launched.ports()['grpc']}"
    with AlpamayoClient(url, Tls(root_certificates=str(file))) as client:
        assert client._triton.is_model_ready("echo", client_timeout=30)
    assert alpamayo(["metadata", "--url", url, "--tls-root-certificates", str(file)]) == 1
    assert "unknown model: 'alpamayo'" in capsys.readouterr().err
    for tls in (None, Tls()):  # in plain text; and trusting the world's certificates, not this one
        with AlpamayoClient(url, tls) as client, pytest.raises(UnavailableError):
            client.wait_until_ready(timeout_s=0.5)
    assert launched.stop() == 0, launched.log


# A shared secret


def test_a_shared_secret(launch, capsys):
    """As SECURITY.md says; `echo` is no Alpamayo, so that a request gets as far as being told so."""
    launched = launch("--", "--grpc-restricted-protocol=inference,metadata,health:key=a secret")
    url = f"127.0.0.1:{launched.ports()['grpc']}"
    request = np.zeros((1, 1, 3, 64, 64), np.uint8), np.zeros((16, 3)), np.tile(np.eye(3), (16, 1, 1))
    for headers in (None, {"triton-grpc-protocol-key": "another"}):
        refusal = pytest.raises(InvalidRequestError, match=r"wants a header .*triton-grpc-protocol-key")
        with AlpamayoClient(url, headers=headers) as client, refusal:
            client.predict(*request)
    secret = {"triton-grpc-protocol-key": "a secret"}
    with AlpamayoClient(url, headers=secret) as client, pytest.raises(AlpamayoError, match="unknown model: 'alpamayo'"):
        client.predict(*request)
    assert alpamayo(["metadata", "--url", url]) == 1
    assert "triton-grpc-protocol-key" in capsys.readouterr().err
    assert alpamayo(["metadata", "--url", url, "--header", "triton-grpc-protocol-key=a secret"]) == 1
    assert "unknown model: 'alpamayo'" in capsys.readouterr().err
    assert launched.stop() == 0, launched.log


BOUNDED = """
dynamic_batching {
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy { default_timeout_microseconds: 60000000 allow_timeout_override: true max_queue_size: 16 }
}
"""


def test_a_shared_secret_does_not_shut_the_models_out(launch):
    """They ask their own server, to wake its queues."""
    launched = launch("--", "--http-restricted-api=inference,metadata:key=a secret", config=BOUNDED)
    assert launched.ports()
    variables = Path(f"/proc/{launched.stub_of('echo')}/environ").read_text().split("\0")
    own_server = OwnServer(**json.loads(dict(it.split("=", 1) for it in variables if it)[OWN_SERVER]))
    x = [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}]
    assert own_server.knock("echo", x, 1)
    assert not replace(own_server, headers={}).knock("echo", x, 1)
    assert launched.stop() == 0, launched.log


def test_models_find_a_server_that_listens_everywhere():
    own_server = Endpoints("0.0.0.0", 1, 2, 3).own_server([])
    assert (own_server.http, own_server.metrics, own_server.headers) == ("127.0.0.1:2", "127.0.0.1:3", {})


# Code in data

CALLS = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def _offences(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.append(str(node.module))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS | {"torch.load", "os.system", "os.popen", "np.fromfile"}:
                found.append(called)
            for keyword in node.keywords:
                if (
                    keyword.arg in ("trust_remote_code", "shell", "allow_pickle")
                    and ast.unparse(keyword.value) != "False"
                ):
                    found.append(f"{called}({keyword.arg}={ast.unparse(keyword.value)})")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_no_eval_no_shell(path):
    assert _offences(path) == []


@pytest.mark.parametrize(
    "code", ["eval('1')", "import pickle", "from pickle import loads", "torch.load(f)", "run('ls', shell=True)"]
)
def test_they_would_be_found(tmp_path, code):
    (tmp_path / "bad.py").write_text(code)
    assert _offences(tmp_path / "bad.py")


def test_a_repository_holds_no_pickle(repository):
    """torch's archive of the denoiser could: for tensors that are no plain arrays, constants, and example inputs."""
    assert not [path for path in repository.rglob("*") if path.suffix in (".pt", ".pth", ".bin", ".pkl")]
    with zipfile.ZipFile(repository / "alpamayo_denoiser" / "1" / "denoiser.pt2") as archive:
        weights = json.loads(archive.read("archive/data/weights/model_weights_config.json"))["config"]
        constants = json.loads(archive.read("archive/data/constants/model_constants_config.json"))["config"]
        others = {
            name: archive.getinfo(name).file_size
            for name in archive.namelist()
            if name.endswith((".pt", ".pkl")) or "/extra/" in name
        }
    assert {weight["use_pickle"] for weight in weights.values()} == {False}
    assert constants == {}
    assert set(others.values()) == {0}
