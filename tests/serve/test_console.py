"""The web page: the committed build belongs to its sources, and in a real browser a click makes a real picture."""

import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "console"
BUILT = ROOT / "src" / "edgegen" / "serve" / "console"
MAX_BYTES = 900_000
PICTURE_MS = 30_000  # for one small picture on a busy machine
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# ------------------------------------------------------------------------------------------------- the built files


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The build script as a module."""
    if not (ROOT / "console" / "package.json").is_file():
        pytest.skip("this copy of the project has no sources of the page (console/)")
    loader = importlib.machinery.SourceFileLoader("console_script", str(SCRIPT))
    spec = importlib.util.spec_from_loader("console_script", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_committed_build_belongs_to_its_sources(script):
    assert script.complaints() == []


def test_a_changed_source_and_a_changed_build_are_noticed(script, tmp_path):
    sources, built = tmp_path / "console", tmp_path / "built"
    (sources / "src").mkdir(parents=True)
    (sources / "src" / "main.tsx").write_text("1")
    built.mkdir()
    (built / "index.html").write_text("page")
    (built / "build.json").write_text(json.dumps(script.stamp(built, sources)))
    assert script.complaints(built, sources) == []
    (sources / "src" / "main.tsx").write_text("2")
    assert "sources changed" in script.complaints(built, sources)[0]
    (built / "index.html").write_text("edited by hand")
    assert len(script.complaints(built, sources)) == 2
    (built / "build.json").unlink()
    assert "missing" in script.complaints(built, sources)[0]


def test_built_page_is_small_and_complete():
    assert sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file()) < MAX_BYTES
    page = (BUILT / "index.html").read_text()
    named = re.findall(r'(?:src|href)="\./([^"]+)"', page)
    assert any(name.endswith(".js") for name in named)
    assert all((BUILT / name).is_file() for name in named)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page), "the page must load nothing from other hosts"


# ------------------------------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def browser(chromium):
    """One headless Chromium for all tests of this file."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as tool:
        started = tool.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser, live_gateway):
    """A fresh tab on the page; fails the test if a script breaks, a policy is violated or another host is asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    broken, asked = [], []
    tab.on("console", lambda line: broken.append(line.text) if "Content Security Policy" in line.text else None)
    tab.on("pageerror", lambda error: broken.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    yield tab
    context.close()
    home = live_gateway.url.rstrip("/") + "/"
    assert broken == []
    assert [url for url in asked if not url.startswith((home, "data:", "blob:"))] == []


def read(live_gateway, path):
    with urllib.request.urlopen(live_gateway.url.rstrip("/") + path, timeout=30) as answer:
        return json.load(answer)


def open_page(page, live_gateway):
    page.goto(live_gateway.url)
    page.get_by_role("status").filter(has_text="live").wait_for()


def ask(page, prompt, **limits):
    page.get_by_role("textbox", name="Prompt").fill(prompt)
    for name, value in limits.items():
        page.get_by_role("textbox", name=name.capitalize()).fill(value)
    page.get_by_role("button", name="Generate", exact=True).click()


def wait_until_finished(page):
    stage = page.get_by_role("region", name="Picture")
    stage.get_by_role("status").filter(has_text="Finished").wait_for(timeout=PICTURE_MS)
    return stage


@pytest.mark.browser
def test_a_click_makes_a_real_picture_and_says_why(page, live_gateway):
    open_page(page, live_gateway)
    ask(page, "a red circle")
    stage = wait_until_finished(page)
    colours = stage.locator(".canvas img").evaluate(
        """async image => {
            await image.decode();
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d");
            canvas.drawImage(image, 0, 0);
            const { data } = canvas.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
            const seen = new Set();
            for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 3).join());
            return { side: image.naturalWidth, seen: seen.size };
        }"""
    )
    assert colours["side"] == 64
    assert colours["seen"] > 50
    newest = read(live_gateway, "/v1/requests?limit=1")["data"][0]
    assert newest["prompt"] == "a red circle"
    assert newest["status"] == "finished"
    story, why = stage.inner_text(), newest["reason"].split(";")[0].rstrip(".")
    for fact in (newest["node"], newest["model"], why, "predicted", "actual", "Energy"):
        assert fact in story
    assert re.search(rf"\b{newest['steps']} steps?\b", story)
    card = page.locator(".gallery .card").first
    assert newest["node"] in card.inner_text()
    card.click()
    assert newest["id"] in page.get_by_role("dialog", name="Story of a picture").inner_text()


@pytest.mark.browser
def test_enter_in_the_prompt_generates_and_an_example_fills_it(page, live_gateway):
    open_page(page, live_gateway)
    page.get_by_role("group", name="Example prompts").get_by_role("button").first.click()
    prompt = page.get_by_role("textbox", name="Prompt")
    grammar = read(live_gateway, "/v1/grammar")
    assert prompt.input_value() in grammar["examples"][grammar["categories"][0]]
    prompt.press("Enter")
    wait_until_finished(page)


@pytest.mark.browser
def test_several_pictures_at_once(page, live_gateway):
    open_page(page, live_gateway)
    page.get_by_role("combobox", name="Pictures").select_option("2")
    ask(page, "a blue square")
    stage = page.get_by_role("region", name="Picture")
    stage.get_by_text("2 pictures", exact=True).wait_for(timeout=2 * PICTURE_MS)
    assert stage.locator(".card.is-finished img").count() == 2


@pytest.mark.browser
def test_an_unknown_word_is_said_at_the_prompt(page, live_gateway):
    open_page(page, live_gateway)
    ask(page, "a red dragon")
    alert = page.get_by_role("form", name="Ask for a picture").get_by_role("alert")
    alert.wait_for()
    assert "dragon" in alert.inner_text()
    prompt = page.get_by_role("textbox", name="Prompt")
    assert prompt.get_attribute("aria-invalid") == "true"
    prompt.fill("a red circle")
    assert alert.count() == 0


@pytest.mark.browser
def test_an_impossible_deadline_comes_with_an_offer_that_can_be_taken(page, live_gateway):
    open_page(page, live_gateway)
    page.get_by_role("combobox", name="Unit of the deadline").select_option("ms")
    ask(page, "a green circle", deadline="0.01")
    refused = page.get_by_role("region", name="Picture").get_by_role("alert")
    refused.get_by_text("Best offer").wait_for()
    refused.get_by_role("button", name="Take the offer").click()
    wait_until_finished(page)
    assert float(page.get_by_role("textbox", name="Deadline").input_value()) > 0.01


@pytest.mark.browser
def test_plan_only_shows_alternatives_and_runs_nothing(page, live_gateway):
    def newest():
        return [item["id"] for item in read(live_gateway, "/v1/requests?limit=1")["data"]]

    before = newest()
    open_page(page, live_gateway)
    page.get_by_role("textbox", name="Prompt").fill("a yellow triangle")
    page.get_by_role("textbox", name="Deadline").fill("20")
    page.get_by_role("button", name="Plan only").click()
    table = page.get_by_role("region", name="Alternatives")
    table.get_by_text("chosen", exact=True).wait_for()
    nodes = {node["name"] for node in read(live_gateway, "/v1/nodes")["data"]}
    assert any(name in table.inner_text() for name in nodes)
    assert newest() == before


@pytest.mark.browser
def test_nodes_stand_in_their_lanes(page, live_gateway):
    open_page(page, live_gateway)
    for node in read(live_gateway, "/v1/nodes")["data"]:
        lane = page.get_by_role("group", name=f"{node['tier']} nodes")
        card = lane.get_by_role("article", name=node["name"], exact=True)
        text = card.inner_text()
        assert all(model in text for model in node["models"])
        assert all(what in text for what in node["emulated"])


@pytest.mark.browser
def test_a_lost_connection_is_said_and_mended(page, live_gateway):
    page.route("**/v1/events", lambda route: route.abort())
    page.goto(live_gateway.url)
    banner = page.get_by_role("alert").filter(has_text="connection to the gateway is lost")
    banner.wait_for()
    assert banner.get_by_role("button", name="Try now").is_enabled()
    page.unroute("**/v1/events")
    page.get_by_role("status").filter(has_text="live").wait_for()
    assert banner.count() == 0


@pytest.mark.browser
def test_a_gateway_that_wants_a_key_gets_it_in_the_header_only(page, live_gateway):
    def guard(route):
        headers = route.request.headers
        if headers.pop("authorization", None) == "Bearer sesame":
            route.continue_(headers=headers)
        else:
            route.fulfill(status=401, json={"error": {"message": "a key is needed", "code": "invalid_api_key"}})

    page.route("**/v1/**", guard)
    page.goto(live_gateway.url)
    key = page.get_by_role("dialog", name="API key").get_by_label("Key")
    key.fill("wrong")
    key.press("Enter")
    page.get_by_text("does not accept this key").wait_for()
    key.fill("sesame")
    key.press("Enter")
    page.get_by_role("status").filter(has_text="live").wait_for()
    assert "sesame" not in page.url
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.reload()
    page.get_by_role("status").filter(has_text="live").wait_for()


@pytest.mark.browser
def test_readable_on_a_phone_and_everything_has_a_name(page, live_gateway):
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, live_gateway)
    ask(page, "a red circle left of a blue square")
    wait_until_finished(page)
    page.locator(".chart canvas").first.wait_for()
    for width in (1600, 1000, 768, 390):
        page.set_viewport_size({"width": width, "height": 844})
        # A chart follows its figure a frame later, when the observer of its size is called.
        page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width, timeout=5000)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, summary")].filter(element => {
            const told = element.getAttribute("aria-label") || element.textContent || "";
            const labels = [...(element.labels ?? [])].map(label => label.textContent).join("");
            const isField = element.matches("input, select, textarea");
            return !(isField ? labels || element.getAttribute("aria-label") : told).trim();
        }).map(element => element.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(page, live_gateway, scheme):
    page.emulate_media(color_scheme=scheme)
    open_page(page, live_gateway)
    contrast = page.evaluate(
        """() => {
            const rgb = name => {
                const probe = document.body.appendChild(document.createElement("i"));
                probe.style.color = `var(--${name})`;
                const found = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
                probe.remove();
                return found;
            };
            const light = colour => {
                const [r, g, b] = colour.map(c => c / 255).map(c => (c <= 0.04 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            const panel = light(rgb("panel"));
            const names = ["ink", "muted", "device", "edge", "cloud", "good", "bad"];
            return Object.fromEntries(names.map(name => [name, ratio(light(rgb(name)), panel)]));
        }"""
    )
    assert {name: ratio for name, ratio in contrast.items() if ratio < 4.5} == {}


@pytest.mark.browser
def test_nodes_that_leave_and_join_and_what_keys_took_are_shown_as_it_happens(page, live_gateway):
    open_page(page, live_gateway)
    ask(page, "a red circle")
    wait_until_finished(page)
    os.kill(live_gateway.runtime.roads.workers["edge-2"].pid, signal.SIGKILL)
    told = page.get_by_role("region", name="As it happens")
    told.get_by_text("edge-2 left").first.wait_for(timeout=PICTURE_MS)
    told.get_by_text("edge-2 joined").first.wait_for(timeout=PICTURE_MS)
    row = page.get_by_role("region", name="Keys").get_by_role("row").filter(has_text="everybody")
    row.wait_for(timeout=PICTURE_MS)
    billed = next(row for row in read(live_gateway, "/v1/usage")["data"] if row["key"] == "everybody")
    assert billed["pictures"] >= 1
    assert billed["energy_j"] > 0
    assert "J" in row.inner_text()
