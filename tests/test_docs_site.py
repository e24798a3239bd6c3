"""The site's own style, in a real browser."""

from pathlib import Path

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
CONSOLE = """<div class="highlight"><pre><code><span class="gp">$ </span>persistill ls
<span class="go">no runs</span></code></pre></div>"""


def test_what_is_copied_is_what_is_typed(browser) -> None:
    """Material for MkDocs copies the text that is seen of a block while it has the attribute data-md-copying."""
    page = browser.new_page()
    page.set_content(f"<style>{(ASSETS / 'site.css').read_text()}</style>{CONSOLE}")
    copied = "() => { const code = document.querySelector('code'); %s; return code.innerText.trimEnd(); }"
    assert page.evaluate(copied % "") == "$ persistill ls\nno runs"
    assert page.evaluate(copied % "code.setAttribute('data-md-copying', '')") == "persistill ls"
    page.close()
