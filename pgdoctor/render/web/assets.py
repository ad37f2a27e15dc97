"""The page's only script and style, which stand in it. The server allows them by their hashes."""

from pkgutil import get_data


def _read_asset(name: str) -> str:
    data = get_data(__package__, name)
    assert data is not None, f"{name} is not in the package"
    return data.decode()


SCRIPT = _read_asset("page.js")
STYLE = _read_asset("page.css")

#: On top of it, of pages that are also files and paper: reports, incidents, logs.
DOCUMENT_STYLE = _read_asset("document.css")
