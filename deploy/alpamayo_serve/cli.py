"""The command `alpamayo-serve`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from alpamayo_model_repository.stage_spans import SERVICE, TRACE_URL

from alpamayo_serve.endpoints import reserved_endpoints, restrictions
from alpamayo_serve.errors import LaunchError
from alpamayo_serve.private_folder import private_folder
from alpamayo_serve.repository import FLAGS, read_repository
from alpamayo_serve.server import find_server
from alpamayo_serve.stop_signals import block_signals
from alpamayo_serve.supervisor import run_server

# What the server is run with unless the repository or the command line says otherwise.
DEFAULTS = (
    "--disable-auto-complete-config",  # the configurations are complete; what differs is an error
    "--exit-on-error=true",  # all models or none
    "--strict-readiness=true",
    "--model-control-mode=none",  # nobody loads or unloads models over the network
)

COLLECTOR = "opentelemetry,url="  # a setting of Triton's --trace-config
# Neither Triton's spans nor the models' go anywhere but to the collector.
NO_PROXY = {"no_proxy": "*", "NO_PROXY": "*"}


def main() -> int:
    """Returns the server's exit code; 1 with a message if it could not be started, or died once too often; 2 if the
    command line is wrong.
    """
    arguments, extra_flags = _parse(sys.argv[1:])
    try:
        repository = read_repository(arguments.repository)
        block_signals()
        with (
            reserved_endpoints(
                arguments.host, arguments.grpc_port, arguments.http_port, arguments.metrics_port
            ) as endpoints,
            private_folder() as private,
        ):
            server = find_server(private)
            own_flags = [
                f"--model-repository={repository.path}",
                *endpoints.flags(),
                f"--exit-timeout-secs={arguments.exit_timeout_s}",
            ]
            _refuse(own_flags, repository.flags, f"in {repository.path / FLAGS}")
            _refuse(own_flags, extra_flags, "after --")
            # Triton lets the last one win.
            given = [*repository.flags, *extra_flags]
            defaults = [*DEFAULTS]
            environment = {**server.environment, **endpoints.own_server(given).environment()}
            if arguments.trace:
                defaults += tracing(arguments.trace_url, given)
                environment = {**environment, TRACE_URL: arguments.trace_url, **NO_PROXY}
            command = [str(server.executable), *server.flags, *defaults, *restrictions(given), *given, *own_flags]
            return run_server(
                command,
                environment,
                repository.models,
                endpoints,
                arguments.exit_timeout_s,
                arguments.max_restarts,
            )
    except LaunchError as error:
        print(f"alpamayo-serve: {error}", file=sys.stderr)
        return 1


def _parse(command_line: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own arguments, and what came after `--`."""
    split = command_line.index("--") if "--" in command_line else len(command_line)
    parser = argparse.ArgumentParser(
        prog="alpamayo-serve",
        usage="%(prog)s [options] REPO [-- TRITONSERVER_FLAG ...]",
        description="Serve a model repository with tritonserver: the one on PATH, else the one from PyPI. "
        "Prints one line when every model is ready, and again after a restart.",
        epilog="What follows -- goes to tritonserver as it is, e.g. -- --log-verbose=1 (see tritonserver --help).",
    )
    parser.add_argument("repository", metavar="REPO", type=Path, help="folder that alpamayo-export wrote")
    for service, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002)):
        parser.add_argument(
            f"--{service}-port",
            type=int,
            default=port,
            metavar="PORT",
            help="default %(default)s; 0: any free one, printed when ready",
        )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on, default %(default)s: this machine only; 0.0.0.0: every network it is in",
    )
    parser.add_argument(
        "--trace",
        action="store_true",
        help="send a trace of every request to an OpenTelemetry collector: a span for each model and stage",
    )
    parser.add_argument(
        "--trace-url",
        default="http://localhost:4318/v1/traces",
        metavar="URL",
        help="where the collector takes OTLP over HTTP, default %(default)s",
    )
    parser.add_argument(
        "--exit-timeout-s",
        type=int,
        default=20,  # Kubernetes kills after 30
        metavar="SECONDS",
        help="how long requests in flight may take after SIGTERM or SIGINT, default %(default)s; a second signal kills",
    )
    parser.add_argument(
        "--max-restarts",
        type=_count,
        default=5,
        metavar="N",
        help="how often in 10 minutes a server that has served and died is started again, default %(default)s; "
        "0: exit with code 1 instead, for an orchestrator that restarts containers",
    )
    return parser.parse_args(command_line[:split]), list(command_line[split + 1 :])


def tracing(url: str, given: Sequence[str]) -> list[str]:
    """Flags that trace every request; another rate may be `given` (`--trace-config=rate=100`: every hundredth), but not
    another collector, which would get Triton's spans without the models'.
    """
    if not url.startswith(("http://", "https://")):
        raise LaunchError(f"--trace-url {url}: wanted a URL such as http://localhost:4318/v1/traces")
    for word in given:
        if word.removeprefix("--trace-config=").startswith(COLLECTOR):
            raise LaunchError(f"{word} beside --trace: name the collector once, alpamayo-serve --trace --trace-url URL")
    return [
        "--trace-config=mode=opentelemetry",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=1",
        "--trace-config=opentelemetry,bsp_schedule_delay=1000",  # ms: before a server that ends is killed
        f"--trace-config={COLLECTOR}{url}",
        f"--trace-config=opentelemetry,resource=service.name={SERVICE}",
    ]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no count: wanted 0 or more")
    return int(text)


def _refuse(own_flags: Sequence[str], flags: Sequence[str], where: str) -> None:
    """What the launcher decides must not be decided twice: it would wait at a port where nobody listens."""
    own = {flag.split("=")[0] for flag in own_flags}
    for flag in flags:
        if flag.split("=")[0] in own:
            raise LaunchError(
                f"{flag} {where}: alpamayo-serve sets {flag.split('=')[0]} itself, see alpamayo-serve --help"
            )
