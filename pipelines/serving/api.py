"""The routes of one model's application: MLflow's scoring protocol, published rows by key, and what there is to know.

Every model has an application of its own, with its own types: a request stays with the one that it came to.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException

from pipelines.errors import PermanentError, TransientError, redact
from pipelines.pages import card_address
from pipelines.serving.champion import Served, Unknown
from pipelines.serving.inputs import invocation_type, keys_type
from pipelines.serving.meters import Meters
from pipelines.serving.outputs import Answer, Refusal, Wrong
from pipelines.serving.rows import Rows
from pipelines.serving.spool import Row, Spool
from pipelines.serving.trial import Asked, ByFeatures, ByKeys
from pipelines.use_case import UseCase

_REFUSALS = (400, 404, 408, 409, 413, 415, 422, 429)  # of a prediction, beside those of everything
# Told, so that it stands in the schema; asked for before any application is asked.
_TOKEN = [Depends(HTTPBearer(auto_error=False, description="python -m pipelines token USE_CASE add NAME"))]
_CONSTANTS = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}  # Python's clients write a missing number NaN


@dataclass(frozen=True)
class Around:
    """What every model's application works with."""

    spool: Spool
    meters: Meters
    alarm: Callable[[], str | None]


class _Lenient(Request):
    async def json(self) -> Any:
        return json.loads(await self.body(), parse_constant=_CONSTANTS.__getitem__)


class _Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def leniently(request: Request) -> Response:
            return await handle(_Lenient(request.scope, request.receive))

        return leniently


def make_app(use_case: UseCase, served: Served | None, around: Around) -> FastAPI:
    """The application that answers with `served`; without one it says that there is no champion."""
    app = FastAPI(
        title=use_case.title,
        description=f"{use_case.purpose} Answers are kept in the table `{use_case.name}/answers`.",
        version=f"v{served.model.version}" if served else "none",
        redoc_url=None,
        responses={status: {"model": Refusal} for status in (401, 403, 421, 503)},
    )
    app.router.route_class = _Route
    app.exception_handler(RequestValidationError)(_wrong_input)
    app.exception_handler(StarletteHTTPException)(_refused)
    app.exception_handler(Unknown)(_unknown)
    app.exception_handler(PermanentError)(lambda _, error: refusal(409, str(error)))
    app.exception_handler(TransientError)(lambda _, error: refusal(503, str(error), {"Retry-After": "5"}))
    _add_looks(app, use_case, served, around)
    if served is not None:
        _add_predictions(app, served, around)
    else:
        for path in ("/invocations", "/keys"):
            app.add_api_route(path, _nobody, methods=["POST"])
    return app


def _nobody() -> None:
    raise TransientError("a champion: there is none to answer")


def _add_looks(app: FastAPI, use_case: UseCase, served: Served | None, around: Around) -> None:
    @app.get("/", summary="What answers, since when", dependencies=_TOKEN)
    def about() -> dict[str, Any]:
        return {"use_case": use_case.name, "title": use_case.title, "alarm": around.alarm(), **_about(use_case, served)}

    @app.get("/ping", summary="Whether there is a model", response_class=Response)
    def ping() -> Response:
        return Response("\n", 200 if served else 503)

    @app.get("/version", summary="MLflow's, whose protocol this is", response_class=Response, dependencies=_TOKEN)
    def version() -> Response:
        return Response(version_of("mlflow"), media_type="text/plain")

    @app.get("/metrics", summary="For Prometheus", response_class=Response, dependencies=_TOKEN)
    def metrics() -> Response:
        version, age = (served.model.version, served.age) if served else (0, 0.0)
        text = around.meters.text(version, age, around.alarm() is not None, around.spool.bytes)
        return Response(text, media_type=around.meters.content_type)


def _about(use_case: UseCase, served: Served | None) -> dict[str, Any]:
    if served is None:
        return {"model_version": None, "why": "no model is champion; promote one"}
    version, champion, trial = served.model.version, served.champion, served.trial
    plan = trial.plan(served.today) if trial else None
    tried = {"experiment": {"name": plan.name, "versions": plan.versions, "weights": plan.weights}} if plan else {}
    return tried | {
        "model_version": version,
        "since": served.since.isoformat(),
        "champion_since": champion.at,
        "why": champion.why,
        "trained_through": served.model.meta["trained_through"],
        "threshold": use_case.scoring.threshold,
        "model_card": card_address(use_case.name, str(version)),  # in Airflow
        "documentation": "/docs",
    }


def _add_predictions(app: FastAPI, served: Served, around: Around) -> None:
    use_case = served.use_case

    # As a response: FastAPI would check what is ours once more, in another thread.
    def invocations(body: Any) -> Response:
        asked = ByFeatures(body.rows, frozenset(served.model.meta["features"]))
        return JSONResponse(_answer(served, around, served.rows(body.rows), None, None, asked))

    def keys(body: Any) -> Response:
        found = served.lookup(body.keys, body.partition)
        asked = ByKeys(body.keys, found.partition, found.version)
        return JSONResponse(_answer(served, around, found.rows, found.partition, found.version, asked))

    unit = served.trial.about.spec.unit if served.trial else None
    bodies = {
        invocations: (invocation_type(use_case, served.model, served.example[-1:], unit), "Predict rows of features"),
        keys: (keys_type(use_case), "Predict rows whose features were published"),
    }
    told: dict[int | str, Any] = {status: {"model": Refusal} for status in _REFUSALS}
    for endpoint, (body, summary) in bodies.items():
        endpoint.__annotations__ |= {"body": body, "return": Answer}
        app.add_api_route(
            f"/{endpoint.__name__}", endpoint, methods=["POST"], summary=summary, responses=told, dependencies=_TOKEN
        )


def _answer(served: Served, around: Around, rows: Rows, partition: str | None, version: int | None, asked: Asked) -> Answer:
    """Predict, keep the answer on this disk, give it."""
    began = time.perf_counter()
    key, told, today = served.use_case.features.key, served.told(rows), served.today
    if served.trial and (plan := served.trial.plan(partition or today)):
        told = served.trial.answer(plan, partition or today, told, asked, time.perf_counter() - began)
    about: Any = {"features_version": version, "features_partition": partition}
    kept = {
        "answer": uuid.uuid4().hex,
        "model_version": served.model.version,
        "made_at": served.workspace.clock.now().isoformat(),
        "run": served.workspace.run,
        **about,
    }
    around.spool.append(today, [{**kept, "row": number, **row} for number, row in enumerate(told)])
    around.meters.predicted(len(told), served.odd(rows))
    return {
        "predictions": [{"key": row.pop(key), **_shown(row)} for row in told],  # type: ignore[typeddict-item]
        "answer": kept["answer"],
        "use_case": served.use_case.name,
        "model_version": served.model.version,
        **about,
    }  # type: ignore[return-value]


def _shown(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "weight"}


# refusals ------------------------------------------------------------------------------------------------------------


def refusal(status: int, expected: str, headers: dict[str, str] | None = None) -> Response:
    """One sentence about the whole request."""
    return _response(status, [Wrong(row=None, field=None, expected=redact(expected))], headers)


def _response(status: int, wrong: list[Wrong], headers: Any = None) -> Response:
    return Response(json.dumps({"detail": wrong}), status, headers, "application/json")


def _wrong_input(_: Request, error: Exception) -> Response:
    """By row and field, without the values."""
    assert isinstance(error, RequestValidationError)
    found = [_wrong(each) for each in error.errors()[:100]]
    kinds = {each["type"] for each in error.errors()}
    status = 413 if "too_long" in kinds else 400 if "json_invalid" in kinds else 422
    return _response(status, found)


def _wrong(error: Any) -> Wrong:
    if error["type"] == "json_invalid":
        return Wrong(
            row=None, field=None, expected=f"Input should be JSON; at character {error['loc'][1]}: {error['ctx']['error']}"
        )
    form, place = next(iter(error["loc"][1:]), None), error["loc"][2:]
    names = [part for part in place if isinstance(part, str) and part != "data"]
    numbers = [part for part in place if isinstance(part, int) and "columns" not in names]
    return Wrong(row=next(iter(numbers), None), field=".".join(names) or form, expected=error["msg"])


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    said = "Input should be JSON" if error.status_code == 400 else str(error.detail)
    return _response(error.status_code, [Wrong(row=None, field=None, expected=said)], error.headers)


def _unknown(_: Request, error: Exception) -> Response:
    assert isinstance(error, Unknown)
    if not error.keys:
        return _response(404, [Wrong(row=None, field="partition", expected="one whose features were published")])
    said = f"a row whose features were published in {error.partition}"
    return _response(404, [Wrong(row=row, field="keys", expected=said) for row in list(error.keys)[:100]])
