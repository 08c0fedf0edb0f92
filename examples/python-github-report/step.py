"""Lists a repository's open issues that nobody has touched for a while."""

from datetime import UTC, datetime, timedelta

import requests

name = "python-github-report"
version = "0.1.0"
props = {
    "github": {"type": "app", "app": "github"},
    "repo": {"type": "string", "label": "Repository", "description": "OWNER/NAME"},
    "days": {"type": "integer", "default": 30, "description": "How long nobody has touched them, in days."},
}


def handler(pd):
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {pd.inputs['github']['$auth']['oauth_access_token']}"
    before = datetime.now(UTC) - timedelta(days=pd.inputs["days"])

    stale = []
    url, params = (
        f"https://api.github.com/repos/{pd.inputs['repo']}/issues",
        {"state": "open", "sort": "updated", "direction": "asc", "per_page": 100},
    )
    while url:
        response = session.get(url, params=params, timeout=20)
        response.raise_for_status()
        for issue in response.json():
            if datetime.fromisoformat(issue["updated_at"]) < before and "pull_request" not in issue:
                stale.append({"number": issue["number"], "title": issue["title"], "url": issue["html_url"]})
        url, params = response.links.get("next", {}).get("url"), None

    print(f"{len(stale)} of {pd.inputs['repo']}'s issues are older than {before:%Y-%m-%d}")
    if not stale:
        pd.flow.exit("nothing is stale")
    pd.export("$summary", f"{len(stale)} stale issues")
    return stale
