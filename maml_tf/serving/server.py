"""The server: TensorFlow Serving's REST interface to a model that adapts, for many tenants."""

from __future__ import annotations

import asyncio
import concurrent.futures
import hmac
import json
import os
import pathlib
import socket
from collections.abc import Callable, Mapping

import numpy as np
import tornado.httpserver
import tornado.web
from absl import logging

from maml_tf.serving.requests import Call, Refused, read_call, shown, write_answer, write_error
from maml_tf.serving.served_model import WEIGHTS, ServedModel
from maml_tf.serving.tenants import Tenants, check_name

_LEAST_TOKEN = 16
_REQUESTS = (
    "GET /v1/models/NAME", "POST /v1/models/NAME:predict", "POST /v1/models/NAME/tenants/TENANT:predict",
)  # fmt: skip
_MODEL, _TENANT = r"/v1/models/([^/:]+)", r"/tenants/([^/:]+)"
# Seconds for a client to send its body, and for running requests to end when the server stops.
_BODY_SECONDS, _LAST_SECONDS = 60.0, 5.0
_LOOK_SECONDS = 0.1


class Service:
    """A model, its tenants and their access.

    Args:
        model: The model.
        tenants: The store of the tenants' weights.
        name: The model's name in the addresses.
        tokens: A token for each tenant, which its requests carry (`Authorization: Bearer TOKEN`); others are refused.
            None lets every request use any tenant: only for a server that nobody but your own program can reach.
        threads: Number of requests computed at the same time, by default the number of processors.
        waiting: Largest number of requests that wait or are being computed; further ones get the status 503.
    """

    def __init__(
        self,
        model: ServedModel,
        tenants: Tenants,
        name: str,
        *,
        tokens: Mapping[str, str] | None = None,
        threads: int | None = None,
        waiting: int = 256,
    ):
        self.model, self.tenants, self.name, self.tokens = model, tenants, name, tokens
        self.waiting, self.running = waiting, 0
        self.threads = concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count() or 1, "maml_tf")

    def check_model(self, name: str) -> None:
        """Refuses another model's name with 404."""
        if name != self.name:
            raise Refused(404, f"Expected the model {self.name!r}. Received: {shown(name)}")

    def check_token(self, header: str, tenant: str | None) -> None:
        """Refuses a token with 403 if it is not the tenant's or, without a tenant, not any tenant's."""
        if self.tokens is None:
            return
        scheme, _, given = header.partition(" ")
        if scheme.lower() != "bearer":
            raise Refused(401, "Expected a header 'Authorization: Bearer TOKEN'. Received: none")
        allowed = self.tokens.values() if tenant is None else filter(None, [self.tokens.get(tenant)])
        # A list: all tokens are compared, so that the time does not reveal which one matched.
        if not any([hmac.compare_digest(given.strip().encode(), token.encode()) for token in allowed]):
            raise Refused(403, "Expected the tenant's own token. Received: a different token")

    def answer(self, body: bytes, tenant: str | None) -> bytes:
        """Computes the answer to a request, for a tenant or without one.

        Raises:
            Refused: If the request cannot be served; nothing has changed.
        """
        if tenant is None:
            call = read_call(body, self.model.signatures)
            self._check_rows(call, call.signature)
            outputs = self.model.call(call.signature, call.arguments)
        else:
            call = read_call(body, self.model.of_tenant)
            self._check_rows(call, "predict")
            outputs = self._of_tenant(tenant, call)
        return write_answer(outputs, call.rows)

    def _check_rows(self, call: Call, signature: str) -> None:
        if call.rows is not None and not self.model.returns_rows(signature):
            raise Refused(
                400, f"Expected inputs, because {call.signature} has outputs without rows. Received: instances"
            )

    def _of_tenant(self, tenant: str, call: Call) -> dict[str, np.ndarray]:
        model, tenants = self.model, self.tenants
        if call.signature == "infer":
            return model.predict(self._weights(tenant), call.arguments)
        if call.signature == "get_weights":
            return {WEIGHTS: self._weights(tenant)}
        with tenants.updating(tenant):
            if call.signature == "reset":
                tenants.remove(tenant)
                return {"done": np.array(True)}
            if call.signature == "set_weights":
                tenants.put(tenant, call.arguments[WEIGHTS])
                return {"done": np.array(True)}
            before = tenants.get(tenant) if model.continues else None
            weights, losses = model.adapt(model.initial if before is None else before, call.arguments)
            tenants.put(tenant, weights)
            return {"losses": losses}

    def _weights(self, tenant: str) -> np.ndarray:
        weights = self.tenants.get(tenant)
        if weights is None:
            raise Refused(404, "Expected a tenant that has adapted. Received: a new one; call fit_task or set_weights")
        return weights


def make_server(service: Service) -> tornado.httpserver.HTTPServer:
    """Makes the server of a service.

    | request | signatures |
    |---|---|
    | `GET /v1/models/NAME` | whether the model is served |
    | `POST /v1/models/NAME:predict` | adapt_and_predict, adapt, predict: nothing is kept |
    | `POST /v1/models/NAME/tenants/TENANT:predict` | fit_task, infer, reset, get_weights, set_weights of the tenant |

    A request that cannot be served gets a status of 4xx (413: the body exceeds the limit, 401 and 403: the token is
    missing or wrong) and `{"error": SENTENCE}`, and changes nothing.
    """
    application = tornado.web.Application(
        [
            (_MODEL, _Status, {"service": service}),
            (f"{_MODEL}:predict", _Predict, {"service": service}),
            (f"{_MODEL}{_TENANT}:predict", _Predict, {"service": service}),
        ],
        default_handler_class=_Handler,
        default_handler_args={"service": service},
        log_function=lambda handler: None,
    )
    return tornado.httpserver.HTTPServer(application, idle_connection_timeout=_BODY_SECONDS, body_timeout=_BODY_SECONDS)


def serve(service: Service, listening: socket.socket, is_over: Callable[[], bool]) -> None:
    """Serves until `is_over` returns True, and then up to a few seconds more while requests are computed.

    Args:
        service: The service.
        listening: A socket of `listen`; it is closed at the end.
        is_over: Called ten times a second.
    """

    async def run():
        server = make_server(service)
        server.add_socket(listening)
        while not is_over():
            await asyncio.sleep(_LOOK_SECONDS)
        server.stop()
        last = asyncio.get_running_loop().time() + _LAST_SECONDS
        while service.running and asyncio.get_running_loop().time() < last:
            await asyncio.sleep(_LOOK_SECONDS)
        await server.close_all_connections()

    try:
        asyncio.run(run())
    finally:
        service.threads.shutdown(wait=False, cancel_futures=True)
        listening.close()


def read_tokens(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reads a file of tokens: a JSON object with the token of each tenant.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no such object, a name is not valid for a tenant, or a token is too short or
            belongs to two tenants.
    """
    path = pathlib.Path(path).expanduser()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected a JSON object of tenants and tokens. Received: {str(path)!r}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(token, str) for token in content.values()):
        raise ValueError(f"Expected a JSON object of tenants and tokens. Received: {str(path)!r} with something else")
    for tenant, token in content.items():
        try:
            check_name(tenant)
        except Refused as refused:
            raise ValueError(f"{refused.sentence} in {str(path)!r}") from refused
        if len(token) < _LEAST_TOKEN:
            raise ValueError(
                f"Expected tokens of at least {_LEAST_TOKEN} characters. "
                f"Received: {len(token)} of {tenant} in {str(path)!r}"
            )
    if len(set(content.values())) < len(content):
        raise ValueError(f"Expected a different token for each tenant. Received: the same for two in {str(path)!r}")
    return content


def listen(host: str, port: int) -> socket.socket:
    """Opens a socket; port 0 chooses a free port.

    Raises:
        ValueError: If the socket cannot use the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen()  # Connections wait until the server runs.
    except OSError as error:
        opened.close()
        raise ValueError(
            f"Expected an address to listen at; port 0 takes a free one. Received: {host}:{port} ({error.strerror})"
        ) from error
    return opened


@tornado.web.stream_request_body
class _Handler(tornado.web.RequestHandler):
    """Handler of unknown addresses and base of the other handlers; reads at most the allowed size of a body."""

    def initialize(self, service: Service) -> None:
        self._service = service
        self._body = bytearray()
        self._counted = self._computed = self._refused = False

    def prepare(self) -> None:
        self._check(lambda: self.check(*self.path_args))
        declared = self.request.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared) > self._service.model.limits.body_bytes:
            self._refuse_size()
        # `data_received` enforces the limit, so that the answer can name it.
        self.request.connection.set_max_body_size(2**62)

    def data_received(self, chunk: bytes) -> None:
        # A chunked body does not declare its size.
        self._body += chunk
        if len(self._body) > self._service.model.limits.body_bytes:
            self._refuse_size()

    def check(self, *names: str) -> None:
        """Refuses a wrong address, method or token before the body is read."""
        raise tornado.web.HTTPError(404)

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.clear_header("Server")

    def write_error(self, status_code: int, **kwargs) -> None:
        received = f"{self.request.method} {shown(self.request.path)}"
        said = f"Expected one of {', '.join(_REQUESTS)}. Received: {received}"
        self.finish(write_error("The server has failed; see its log" if status_code >= 500 else said))

    def _check(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Refused as refused:
            self._refuse(refused)

    def _refuse(self, refused: Refused) -> None:
        if refused.status >= 500:
            logging.error("%s (%s)", refused.sentence, refused.__cause__)
        if not self._refused:
            self._refused = True
            self.set_status(refused.status)
            self.finish(write_error(refused.sentence))

    def _refuse_size(self) -> None:
        self._body.clear()
        most = self._service.model.limits.body_bytes
        self._refuse(Refused(413, f"Expected a body of at most {most} bytes. Received: more"))


class _Status(_Handler):
    def check(self, name: str) -> None:
        self._service.check_model(name)

    def get(self, name: str) -> None:
        fine = {"error_code": "OK", "error_message": ""}
        self.finish({"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": fine}]})


class _Predict(_Handler):
    def check(self, name: str, tenant: str | None = None) -> None:
        service = self._service
        service.check_model(name)
        if tenant is not None:
            check_name(tenant)
        service.check_token(self.request.headers.get("Authorization", ""), tenant)
        if service.running >= service.waiting:
            raise Refused(503, f"Expected at most {service.waiting} requests at once. Received: more; ask again later")
        self._counted = True
        service.running += 1

    async def post(self, name: str, tenant: str | None = None) -> None:
        service, body, self._computed = self._service, bytes(self._body), True
        loop = asyncio.get_running_loop()
        try:
            self.finish(await loop.run_in_executor(service.threads, service.answer, body, tenant))
        except Refused as refused:
            self._refuse(refused)
        finally:
            self._leave()

    def on_finish(self) -> None:
        self._leave()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if not self._computed:  # The client disconnected before it had sent its body.
            self._leave()

    def _leave(self) -> None:
        self._service.running -= self._counted
        self._counted = False
