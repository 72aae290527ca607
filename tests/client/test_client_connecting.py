"""What a client connects with: an address, headers, TLS."""

import asyncio

import pytest
from alpamayo_client import AlpamayoClient, AsyncAlpamayoClient, InvalidRequestError, Tls

HEADERS = {"triton-grpc-protocol-Key": "a secret"}


def test_headers_go_along_with_every_call(triton, frames, history):
    async def ask():
        async with AsyncAlpamayoClient(triton.url, headers=HEADERS) as client:
            await client.wait_until_ready(30)
            await client.predict(frames, *history)
            await client.metadata()
            await client.stage_times()

    with AlpamayoClient(triton.url, headers=HEADERS) as client:
        client.wait_until_ready(30)
        client.predict(frames, *history)
        client.metadata()
        client.stage_times()
    calls = len(triton.headers)
    asyncio.run(ask())
    assert len(triton.headers) == 2 * calls
    assert {method for method, _ in triton.headers} == {
        "ModelConfig",
        "ModelReady",
        "ModelInfer",
        "ServerMetadata",
        "ModelStatistics",
    }
    assert {headers.get("triton-grpc-protocol-key") for _, headers in triton.headers} == {"a secret"}


@pytest.mark.parametrize("headers", [["a"], {"a": 1}, {1: "a"}])
def test_headers_that_are_no_texts(headers):
    with pytest.raises(InvalidRequestError, match="headers: wanted a dict of names and values, both str"):
        AlpamayoClient("localhost:8001", headers=headers)


@pytest.mark.parametrize("headers", [{"a b": "1"}, {"key": "1\n2"}, {"key": "\u00fc"}, {"key-bin": "1"}, {"": "1"}])
def test_headers_that_cannot_be_sent(headers):
    for kind in (AlpamayoClient, AsyncAlpamayoClient):
        with pytest.raises(InvalidRequestError, match=r"headers: got .*, wanted names of letters") as error:
            kind("localhost:8001", headers=headers)
        assert "1\n2" not in str(error.value)  # it may be a secret


@pytest.mark.parametrize(
    "url", ["http://robot:8000", "localhost", "localhost:70000", "robot:0", "/models/alpamayo", 8001]
)
def test_what_is_not_a_grpc_endpoint(url):
    with pytest.raises(InvalidRequestError, match=r"url: got .*, wanted host:port"):
        AlpamayoClient(url)


def test_an_identity_needs_both_its_files(tmp_path):
    """gRPC would end the process."""
    for alone in ("private_key", "certificate_chain"):
        with pytest.raises(InvalidRequestError, match=f"Tls: got {alone} alone"):
            Tls(**{alone: str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"nothing\.pem"):
        Tls(root_certificates=str(tmp_path / "nothing.pem"))


@pytest.mark.parametrize("client", [AlpamayoClient, AsyncAlpamayoClient])
@pytest.mark.parametrize("tls", [True, False, "server.crt"])
def test_what_is_no_tls(client, tls):
    with pytest.raises(InvalidRequestError, match=f"tls: got {tls!r}, wanted an alpamayo_client.Tls, or None"):
        client("localhost:8001", tls)
