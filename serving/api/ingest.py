"""Calls that write: events, items and users over HTTP, appended to the log before they are accepted."""

from __future__ import annotations

import time
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from fastapi import Request, Response

from hsnn.serving.api.access import Access
from hsnn.serving.api.body import SMALL_BODY, BodyReader
from hsnn.serving.api.ingest_keys import IngestKeys
from hsnn.serving.api.lanes import Lane
from hsnn.serving.config import Scope, ServingConfig
from hsnn.serving.errors import BackpressureError, BusyError, ForbiddenError, RequestError, TooLargeError
from hsnn.serving.ingest.appender import EventAppender
from hsnn.serving.ingest.events import EventParser, IngestBatch
from hsnn.serving.schema import AcceptedBody
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.schema.events import Feature, Item, ItemPatch, Millis, User, encode
from hsnn.streaming.schema.ids import canonical_id
from hsnn.streaming.schema.topics import TopicRole

# Bodies that wait to be parsed: as many as there are connections by default.
_MOST_WAITING = 500

# Seconds that a browser may remember that an origin may send.
_PREFLIGHT_SECONDS = 86_400

# Seconds after which a call may be sent again for which there was no room.
_RETRY_AFTER = 1.0

BodyT = TypeVar("BodyT")


class UserBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PUT /v1/users/{id}``; without `ts`, epoch ms, it counts from now on."""

    features: dict[str, Feature] = {}
    ts: Millis | None = None


class ItemBody(UserBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PUT`` and ``PATCH /v1/items/{id}``; the fields mean what they mean in an event."""

    expires_at: Millis | msgspec.UnsetType | None = msgspec.UNSET
    available_from: Millis | msgspec.UnsetType | None = msgspec.UNSET


_user_bodies: msgspec.json.Decoder[UserBody] = msgspec.json.Decoder(UserBody)
_item_bodies: msgspec.json.Decoder[ItemBody] = msgspec.json.Decoder(ItemBody)


class IngestApi:
    """Handlers of the calls that write.

    Parameters
    ----------
    appender
        Appends to the log.
    access
        Checks tokens; these calls need the scope `write`.
    keys
        Checks ingest keys; None: those of the configuration, in this process.
    """

    def __init__(
        self,
        appender: EventAppender,
        access: Access,
        config: ServingConfig,
        streaming: StreamingConfig,
        *,
        keys: IngestKeys | None = None,
    ) -> None:
        self._appender, self._access, self._config = appender, access, config
        self._keys = keys or IngestKeys(config.ingest_keys)
        self._parser = EventParser(int(streaming.max_future * 1000))
        # Apart from those of retrievals, so that a flood of events does not keep these out.
        self._bodies, self._public_bodies = BodyReader(config.max_body), BodyReader(SMALL_BODY)
        self._parsing = Lane("event parsing", _MOST_WAITING)

    async def events(self, request: Request) -> Response:
        """``POST /v1/events``: interactions and impressions, with a write token items and users, too."""
        if (key := request.query_params.get("key")) is not None:
            return await self._public_events(request, key)
        token = self._admit(request)
        batch = await self._read(request, self._bodies, engagements_only=False)
        self._access.charge(token, len(batch) - 1)
        return await self._append(batch)

    async def preflight(self, request: Request) -> Response:
        """``OPTIONS /v1/events``: tell a browser whether a page of another origin may send."""
        self._allow_origin(request, request.query_params.get("key", ""))
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": "content-type",
                "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
            },
        )

    async def put_item(self, request: Request) -> Response:
        """``PUT /v1/items/{id}``: describe an item; what is not named of its features is removed."""
        return await self._describe_item(request, Item)

    async def patch_item(self, request: Request) -> Response:
        """``PATCH /v1/items/{id}``: change some features of an item; null removes one."""
        return await self._describe_item(request, ItemPatch)

    async def delete_item(self, request: Request) -> Response:
        """``DELETE /v1/items/{id}``: it is not recommended any more."""
        return await self._delete(request, TopicRole.ITEMS, request.path_params["item"])

    async def put_user(self, request: Request) -> Response:
        """``PUT /v1/users/{id}``: describe a user; what is not named of the features is removed."""
        self._admit(request)
        now = _now()
        body = await self._body(request, _user_bodies)
        event = User(id=request.path_params["user"], ts=body.ts or now, features=body.features)
        return await self._append_one(TopicRole.USERS, event, now)

    async def delete_user(self, request: Request) -> Response:
        """``DELETE /v1/users/{id}``: the user's history, memory and features are forgotten."""
        return await self._delete(request, TopicRole.USERS, request.path_params["user"])

    def close(self) -> None:
        """Drop bodies that wait, and append what was taken over."""
        self._parsing.close()
        self._appender.close()

    async def _public_events(self, request: Request, key: str) -> Response:
        """Take events of a page in a browser."""
        address = request.client.host if request.client else ""
        name = self._keys.admit(key, self._allow_origin(request, key), address)
        batch = await self._read(request, self._public_bodies, engagements_only=True)
        self._keys.charge(name, address, len(batch) - 1)
        return await self._append(batch)

    def _allow_origin(self, request: Request, key: str) -> str:
        """Return the origin of a call whose key is for it; the response will tell the browser so."""
        origin = request.headers.get("origin", "")
        self._keys.authorize(key, origin)
        request.state.headers = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "Retry-After",
            "Vary": "Origin",
        }
        return origin

    def _admit(self, request: Request) -> str | None:
        """Check the token of a call that writes, and its rate; return the token's name."""
        name = self._access.admit(request.headers.get("authorization", ""), Scope.WRITE)
        origin = request.headers.get("origin")
        # Without tokens, any page that a browser on this machine shows could write.
        if origin and self._access.is_open and urlsplit(origin).netloc != request.headers.get("host"):
            raise ForbiddenError(f"pages of {origin} need an ingest key: name it in serving.ingest_keys")
        return name

    async def _read(self, request: Request, bodies: BodyReader, *, engagements_only: bool) -> IngestBatch:
        now, kind = _now(), request.headers.get("content-type", "")
        try:
            lease = await bodies.read(request)
        except TooLargeError as error:
            raise TooLargeError(str(error).replace("queries", "events")) from None
        except BusyError as error:
            raise BackpressureError(str(error), _RETRY_AFTER) from None
        with lease as body:
            content = body.content

            def parse() -> IngestBatch:
                return self._parser.parse(content, kind, now, engagements_only=engagements_only)

            if len(content) <= SMALL_BODY:
                return parse()
            try:
                return await self._parsing.run(parse, self._config.deadline)
            except BusyError as error:
                raise BackpressureError(str(error), _RETRY_AFTER) from None

    async def _body(self, request: Request, decoder: msgspec.json.Decoder[BodyT]) -> BodyT:
        with await self._bodies.read(request) as body:
            try:
                return decoder.decode(bytes(body.content) or b"{}")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise RequestError(str(error)) from None

    async def _describe_item(self, request: Request, kind: type[Item] | type[ItemPatch]) -> Response:
        self._admit(request)
        now = _now()
        body = await self._body(request, _item_bodies)
        event = kind(
            id=request.path_params["item"],
            ts=body.ts or now,
            features=body.features,
            expires_at=body.expires_at,
            available_from=body.available_from,
        )
        return await self._append_one(TopicRole.ITEMS, event, now)

    async def _append_one(self, role: TopicRole, event: Item | ItemPatch | User, now: int) -> Response:
        try:
            checked = self._parser.check(event, now)
        except ValueError as error:
            raise RequestError(str(error)) from None
        batch = IngestBatch(now)
        batch.add(role, ProducerRecord(str(event.id).encode(), encode(checked), (), now))
        return await self._append(batch)

    async def _delete(self, request: Request, role: TopicRole, name: str) -> Response:
        self._admit(request)
        now = _now()
        try:
            key = canonical_id(name).encode()
        except (ValueError, UnicodeEncodeError) as error:
            raise RequestError(str(error)) from None
        batch = IngestBatch(now)
        batch.add(role, ProducerRecord(key, None, (("ts", b"%d" % now),), now))
        return await self._append(batch)

    async def _append(self, batch: IngestBatch) -> Response:
        await self._appender.append(batch, self._config.deadline)
        return Response(msgspec.json.encode(AcceptedBody(len(batch))), 202, media_type="application/json")


def _now() -> int:
    """Return the wall time in epoch ms."""
    return time.time_ns() // 1_000_000
