"""The front page, until a dashboard is built: what is here and how to ask for it."""

from fastapi import APIRouter, Response

from api.deps import NoQuery

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Voice</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<h1>Voice is running</h1>
<p>There is no dashboard in this version. Ask the API with a key from <code>voice.env</code>:</p>
<pre>curl -H "Authorization: Bearer $VOICE_ADMIN_KEY" $VOICE_URL/v1/themes</pre>
<p>The whole contract: <a href="/openapi.json">openapi.json</a>. State: <a href="/readyz">readyz</a>,
<a href="/metrics">metrics</a>.</p>
</html>
"""


@router.get("/", dependencies=[NoQuery])
def get_home() -> Response:
    """A page that says how to go on."""
    return Response(_PAGE, media_type="text/html")
