"""What the service answers, asked over HTTP."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image
from serving import IDS, LABELS, Server, encoded, make_gallery, pictures, serving

from hashsearch import __version__
from hashsearch.codes import hamming_distance
from hashsearch.encoder import Encoder
from hashsearch.serve import schemas
from hashsearch.serve.schemas import Galleries, Item, Samples, SearchAnswer, SearchForm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hashsearch.gallery import Gallery


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def gallery(folder: Path, encoder_file: Path) -> Gallery:
    gallery = make_gallery(folder, encoder_file)
    gallery.save(folder / "indexes" / "shop.h5")
    return gallery


@pytest.fixture(scope="module")
def server(folder: Path, gallery: Gallery) -> Iterator[Server]:
    with serving(folder, "--max-upload", "1", "--max-pixels", "1") as server:
        yield server


@pytest.fixture
def client(server: Server) -> httpx.Client:
    return server.client


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    """A search; lists are fields that are repeated."""
    parts: list[tuple[str, Any]] = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            text = ("image.png", one) if isinstance(one, bytes) else (None, str(one))
            parts.append((name, text))
    return client.post("/api/search", files=parts)


def found(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = ask(client, **fields)
    assert answer.status_code == 200, answer.text
    SearchAnswer.model_validate(answer.json(), extra="forbid", strict=True)
    document: dict[str, Any] = answer.json()
    return document


def ids(document: dict[str, Any]) -> list[str]:
    return [match["id"] for match in document["matches"]]


def test_it_says_what_it_serves(client: httpx.Client, gallery: Gallery) -> None:
    document = client.get("/api/galleries").json()
    Galleries.model_validate(document, extra="forbid", strict=True)
    (facts,) = document["galleries"]
    assert (facts["name"], facts["items"], facts["takes_images"]) == ("shop", len(IDS), True)
    assert (facts["n_bits"], facts["fine_bits"]) == (gallery.n_bits, gallery.fine_bits)
    assert facts["labels"] == [
        {"label": "Bag", "items": 4},
        {"label": "Coat", "items": 3},
        {"label": "Shirt", "items": 2},
    ]
    assert facts["columns"] == ["season"]
    health = client.get("/health").json()
    assert health == {"status": "ok", "version": __version__, "galleries": 1}


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize("radius", [0, 4, 16])
def test_a_search_by_id_finds_all_others_by_the_one_order(
    client: httpx.Client, gallery: Gallery, id_: str, radius: int
) -> None:
    document = found(client, id=id_, radius=radius)
    codes = gallery.codes(gallery.content.rows_of([id_]))
    expected = gallery.nearest(codes, len(IDS), radius)
    others = [place for place, other in enumerate(expected.ids) if other != id_]
    assert ids(document) == [expected.ids[place] for place in others]
    for name in ("distance", "full_distance", "in_ball"):
        values = getattr(expected, name).tolist()
        assert [match[name] for match in document["matches"]] == [values[at] for at in others]
    # It is none of the others.
    assert document["ball_size"] == expected.ball_size[0] - 1
    assert document["query"] == {
        "id": id_,
        "label": LABELS[IDS.index(id_)],
        "code": codes.tobytes().hex(),
    }
    distance = hamming_distance(codes[:, :2], gallery.codes()[:, :2])[0]
    counts = np.bincount(distance, minlength=17)
    counts[0] -= 1
    assert document["histogram"] == counts.tolist()
    assert document["searched"] == len(IDS) - 1


def test_an_image_and_its_code_find_the_same(client: httpx.Client, encoder_file: Path) -> None:
    image = encoded(pictures()[2])
    by_image = found(client, image=image, k=3)
    code = Encoder.load(encoder_file).encode(image).tobytes().hex()
    assert by_image["query"] == {"id": None, "label": None, "code": code}
    assert ids(by_image)[0] == IDS[2]
    assert by_image["timing_ms"]["total"] >= by_image["timing_ms"]["encode"] > 0
    by_code = found(client, code=code, k=3, gallery="shop")
    assert by_code["matches"] == by_image["matches"]
    assert by_code["histogram"] == by_image["histogram"]


def test_filters_leave_out_what_they_do_not_name(client: httpx.Client, gallery: Gallery) -> None:
    document = found(client, id="plain", label=["Coat", "Shirt"], radius=16)
    assert set(ids(document)) == {
        name for name, label in zip(IDS, LABELS, strict=True) if label in {"Coat", "Shirt"}
    } - {"plain"}
    assert document["searched"] == document["ball_size"] == sum(document["histogram"]) == 4
    beside = found(client, id="plain", label="Bag", radius=16)
    bags = 4 - (LABELS[IDS.index("plain")] == "Bag")
    assert beside["searched"] == beside["ball_size"] == bags
    # Facts and addresses are those of the same items without a filter.
    every = {match["id"]: match for match in found(client, id="plain", radius=16)["matches"]}
    assert all(match == every[match["id"]] for match in document["matches"])
    # Of several values of one item, one is enough; asked again, it answers the same.
    for _ in range(2):
        assert set(ids(found(client, id="bare", where="season=summer"))) == {"plain", "a/b c.jpg"}
    both = found(client, id="bare", where=["season=summer", "season=winter"], label="Coat")
    assert ids(both) == ["100%"]


def test_distinct_gives_one_of_equal_codes(client: httpx.Client) -> None:
    assert {"plain", "copy"} <= set(ids(found(client, id="lost")))
    assert len({"plain", "copy"} & set(ids(found(client, id="lost", distinct="true")))) == 1
    assert "copy" not in ids(found(client, id="plain", distinct="true"))


@pytest.mark.parametrize("id_", IDS)
def test_the_addresses_of_an_item_lead_to_it(client: httpx.Client, id_: str) -> None:
    matches = found(client, id="plain" if id_ != "plain" else "copy")["matches"]
    match = next(match for match in matches if match["id"] == id_)
    image = match["image"] or f"/api/items/{id_}/image"
    item = client.get(image.partition("?")[0].removesuffix("/image")).json()
    Item.model_validate(item, extra="forbid", strict=True)
    assert item == {name: match[name] for name in item}
    answer = client.get(image)
    if id_ == "bare":
        assert match["image"] is match["thumbnail"] is None
        assert answer.status_code == 404
        return
    small = client.get(match["thumbnail"])
    assert small.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(small.content)).size == (28, 28)
    if id_ == "lost":  # what lies at its path is no image, so nobody sees it
        assert answer.content == small.content
    elif id_ == "dot.":  # browsers show no BMP everywhere
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    else:
        assert answer.headers["content-type"] == "image/png"
        assert answer.content == encoded(pictures()[IDS.index(id_)])


def test_a_picture_is_sent_once(client: httpx.Client) -> None:
    first = client.get("/api/items/plain/thumbnail")
    again = client.get(
        "/api/items/plain/thumbnail", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    etag = first.headers["etag"]
    for named, status in (
        (f"W/{etag}", 304),
        (f'"other", {etag}', 304),
        ("*", 304),
        (f'"other{etag[1:]}', 200),
        ('"other"', 200),
    ):
        answer = client.get("/api/items/plain/thumbnail", headers={"If-None-Match": named})
        assert answer.status_code == status
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    same = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/health", "/api/galleries", "/api/items/plain/image"])
def test_head_tells_of_an_answer_without_it(client: httpx.Client, path: str) -> None:
    whole = client.get(path)
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag"):
        assert head.headers.get(name) == whole.headers.get(name)
    assert client.head("/api/search").status_code == 405


def test_nobody_is_told_where_the_files_lie(
    client: httpx.Client, folder: Path, encoder_file: Path
) -> None:
    (facts,) = client.get("/api/galleries").json()["galleries"]
    assert facts["encoder"] == encoder_file.name
    assert str(folder) not in ask(client, id="plain", radius=16).text
    assert str(folder) not in client.get("/api/items/plain").text


def test_every_schema_has_an_example_that_it_allows(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    names = {name for name in document["components"]["schemas"] if name in schemas.__all__}
    assert {"Problem", "SearchAnswer", "Item", "Galleries", "Samples", "Health"} <= names
    for name in names:
        (example,) = document["components"]["schemas"][name]["examples"]
        getattr(schemas, name).model_validate(example, extra="forbid", strict=True)
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                assert parameter["schema"]["examples"]
    content = document["paths"]["/api/search"]["post"]["requestBody"]["content"]
    asked = [example["value"] for example in content["multipart/form-data"]["examples"].values()]
    for value in asked:
        SearchForm.model_validate(value)
    assert {"image", "id", "code"} <= {name for value in asked for name in value}


def test_samples_are_of_all_labels_and_stay_the_same(client: httpx.Client) -> None:
    document = client.get("/api/samples", params={"gallery": "shop"}).json()
    Samples.model_validate(document, extra="forbid", strict=True)
    assert {sample["label"] for sample in document["samples"]} == {"Shirt", "Coat", "Bag"}
    assert client.get("/api/samples").json() == document


WHOLE = encoded(pictures()[0])


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"k": 5}, 422, "give one of image, id and code, not none"),
        ({"id": "plain", "code": "00"}, 422, "not id and code"),
        ({"id": "nobody"}, 404, "no item 'nobody' in the gallery shop"),
        ({"id": "plain", "gallery": "none"}, 404, "no gallery 'none'; there are: shop"),
        ({"id": "plain", "k": 0}, 422, "k: .* greater than or equal to 1"),
        ({"id": "plain", "k": 1001}, 422, "k: .* less than or equal to 1000"),
        ({"id": "plain", "k": "many"}, 422, "k: .* valid integer"),
        ({"id": "plain", "radius": 17}, 422, r"radius must be 0 \.\. 16, not 17"),
        ({"id": "plain", "radius": "9" * 4000}, 422, r"radius must be 0 \.\. 16, not 9+ \.\.\."),
        ({"id": "plain", "radius": -1}, 422, "radius: .* greater than or equal to 0"),
        ({"id": "plain", "raduis": 1}, 422, "no field 'raduis'; there are image, id, code,"),
        ({"id": ["plain", "copy"]}, 422, "id is given 2 times; give one"),
        ({"id": "plain", "label": "Hat"}, 422, "no item .* has the label 'Hat'; there are Bag"),
        ({"id": "plain", "where": "season"}, 422, "where takes column=value, not 'season'"),
        ({"id": "plain", "where": "colour=red"}, 422, "no item of the gallery has a colour"),
        ({"id": "plain", "where": "season=winter", "label": "Bag"}, 422, "no item is left"),
        ({"code": "00"}, 422, "code must be 10 hexadecimal digits, not '00'"),
        ({"code": "zz" * 5}, 422, "code must be 10 hexadecimal digits"),
        ({"image": b""}, 422, "not an image that can be read"),
        ({"image": b"GIF89a, or not"}, 422, "get the file anew|not an image"),
        ({"image": WHOLE[:-40]}, 422, "damaged or cut short"),
        ({"image": encoded(np.zeros((2, 600_000), np.uint8))}, 422, "more than 1 million pixels"),
        ({"image": bytes(1 << 20)}, 413, "may have 1 MiB"),
        ({"image": [WHOLE, WHOLE]}, 400, "Too many files"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    client: httpx.Client, fields: dict[str, Any], status: int, message: str
) -> None:
    answer = ask(client, **fields)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]
    assert "\n" not in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 1100
    assert re.search(message, answer.json()["detail"]), answer.text


@pytest.mark.parametrize("mebibytes", [2, 1000])
def test_of_a_body_that_is_too_large_only_so_much_is_read(
    client: httpx.Client, mebibytes: int
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    end = b"\r\n--b--\r\n"

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(mebibytes):
            yield bytes(1 << 20)
        yield end

    form = {
        "content-type": "multipart/form-data; boundary=b",
        "content-length": str(len(head) + (mebibytes << 20) + len(end)),
    }
    answer = client.post("/api/search", content=body(), headers=form)
    assert answer.status_code == 413
    # What would have no end is not waited for.
    assert (answer.headers.get("connection") == "close") == (mebibytes == 1000)


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        ("application/json", b'{"id": "plain"}', 415),
        ("multipart/form-dataX; boundary=b", b"--b--\r\n", 415),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=b", b"no part", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nno: name\r\n\r\nx\r\n--b--\r\n", 400),
    ],
)
def test_what_is_no_form_is_refused(
    client: httpx.Client, content_type: str, content: bytes, status: int
) -> None:
    answer = client.post("/api/search", content=content, headers={"content-type": content_type})
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/items/../../../etc/passwd/image",
        "/api/items/%2Fetc%2Fpasswd/image",
        "/api/items/photos%2F8.png/image",
        "/api/items/plain%00/image",
        "/api/items/%ff/image",
        "/api/items/" + "x" * 5000,
        "/../pyproject.toml",
        "/page/index.html",
    ],
)
def test_no_path_of_a_request_touches_the_disk(server: Server, path: str) -> None:
    address = server.client.base_url
    raw = httpx.URL(f"http://{address.host}:{address.port}").copy_with(raw_path=path.encode())
    answer = server.client.get(raw)
    assert answer.status_code == 404
    assert list(answer.json()) == ["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/api/galleries", 200), ("/api/items/plain/image", 200), ("/nothing", 404)],
)
def test_every_answer_keeps_browsers_to_what_it_is_for(
    client: httpx.Client, path: str, status: int
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= {*policy}
    assert not any("unsafe" in rule for rule in policy)
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_that_calls_it_by_another_name_gets_nothing(client: httpx.Client) -> None:
    answer = client.get("/api/galleries", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert client.get("/health", headers={"Host": "localhost:1"}).status_code == 200


def test_it_counts_for_prometheus(client: httpx.Client) -> None:
    found(client, id="plain")
    ask(client, id="nobody")
    text = client.get("/metrics").text
    assert 'hashsearch_gallery_items{gallery="shop"} 10.0' in text
    assert 'hashsearch_generations_total{gallery="shop",outcome="opened"} 1.0' in text
    assert 'hashsearch_searches_total{by="id",gallery="shop"}' in text
    assert 'hashsearch_requests_total{route="/api/search",status="404"}' in text
    assert "hashsearch_requests_inside 0.0" in text


def test_nothing_went_wrong_meanwhile(server: Server) -> None:
    assert "ERROR" not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()
