"""The page for everybody: contrast, names of controls, keyboard, phones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import page_reader
from tests.support.page_reader import Reader
from tests.support.scripted_page import LABELS, ScriptedServer

browser, scripted = page_reader.browser, page_reader.scripted
server, open_page = page_reader.server, page_reader.open_page


CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color.length === 3) return color;
    }
    return [255, 255, 255];
  };
  const told = [];
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.disabled) continue;
    const pair = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    told.push([ratio, element.id || element.textContent.trim().slice(0, 30)]);
  }
  return told;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(
    open_page: Callable[..., Reader], scheme: str, server: ScriptedServer
) -> None:
    server.about["synthetic"] = True
    reader = open_page(color_scheme=scheme)
    reader.analyze("good.wav")
    reader.page.click("summary:has-text('Model card')")
    reader.page.evaluate("document.getElementById('error').hidden = false")
    reader.page.evaluate("document.getElementById('error').textContent = 'An error.'")
    ratios = reader.page.evaluate(CONTRAST)
    assert len(ratios) > 40
    assert [pair for pair in ratios if pair[0] < 4.5] == [], "WCAG 2.2, 1.4.3"


def test_colours_follow_the_system_and_the_button(open_page: Callable[..., Reader]) -> None:
    reader = open_page(color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    dark = reader.page.evaluate(back)
    assert reader.page.get_attribute("#theme", "aria-pressed") == "true"
    reader.page.click("#theme")
    assert reader.page.evaluate(back) != dark
    assert reader.page.get_attribute("#theme", "aria-pressed") == "false"


NAMED = ("button", "slider", "textbox", "link", "image", "progressbar", "meter")


def test_every_control_has_a_name_and_a_place_in_the_order(
    open_page: Callable[..., Reader],
) -> None:
    reader = open_page()
    reader.analyze("good.wav")
    session = reader.context.new_cdp_session(reader.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    assert [pair for pair in told if pair[0] in NAMED and not pair[1]] == []
    roles = {role for role, _ in told}
    assert {"banner", "main", "contentinfo", "region", "slider", "status", "table"} <= roles
    reader.page.focus(".skip")
    order = []
    for _ in range(20):
        reader.page.keyboard.press("Tab")
        order.append(reader.page.evaluate("document.activeElement.id"))
    wanted = ["theme", "choose", "record-sound", "record-picture"]
    wanted += ["analyze", "save-json", "windows"]
    assert [name for name in dict.fromkeys(order) if name in wanted] == wanted


def test_a_phone_needs_no_scrolling_sideways(open_page: Callable[..., Reader]) -> None:
    reader = open_page(viewport={"width": 360, "height": 740})
    reader.analyze("good.wav")
    widths = "[document.documentElement.scrollWidth, innerWidth]"
    assert reader.page.evaluate(widths) == [360, 360]
    assert reader.page.locator("#window-table tbody tr").count() == len(LABELS)
