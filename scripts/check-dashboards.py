#!/usr/bin/env python3
"""Says whether Grafana can load the dashboards in a folder, and whether each metric they name is one that the server tells.

    check-dashboards.py FOLDER SOURCES

Prints their questions as recording rules, for promtool.
"""

import json
import pathlib
import re
import sys

WIDTH = 24
KINDS = {"stat", "timeseries"}


def wrong(words):
    sys.exit(f"{sys.argv[1]}: {words}")


def check(name, dashboard, told):
    """Yields its questions."""
    for key, kind in {"uid": str, "title": str, "schemaVersion": int, "panels": list, "time": dict, "templating": dict}.items():
        if not isinstance(dashboard.get(key), kind):
            wrong(f"{name}: {key} must be there, and a {kind.__name__}")
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    places, ids = set(), set()
    for panel in dashboard["panels"]:
        title = f"{name}: {panel['title']}"
        if panel["id"] in ids or panel["type"] not in KINDS or not panel["targets"]:
            wrong(f"{title}: an id of its own, a known type and a question, please")
        ids.add(panel["id"])
        at = panel["gridPos"]
        if at["x"] + at["w"] > WIDTH:
            wrong(f"{title}: wider than the page")
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                if (x, y) in places:
                    wrong(f"{title}: lies upon another")
                places.add((x, y))
        if len({target["refId"] for target in panel["targets"]}) != len(panel["targets"]):
            wrong(f"{title}: two questions have the same name")
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(target)))
            if not used <= variables:
                wrong(f"{title}: there is no {', '.join(used - variables)}")
            names = set(re.findall(r"\b(?:gimp|process)_[a-z_]+", target["expr"]))
            if not names:
                wrong(f"{title}: asks for nothing of ours")
            for metric in names:
                if metric not in told and re.sub(r"_(bucket|sum|count)$", "", metric) not in told:
                    wrong(f"{title}: nobody tells {metric}")
            yield target["expr"].replace("$namespace", "gimp-platform")


def main():
    folder, sources = map(pathlib.Path, sys.argv[1:3])
    code = "".join(path.read_text() for path in sources.rglob("*.rs"))
    told = set(re.findall(r'"((?:gimp_platform|process)_[a-z_]+)"', code))
    files = sorted(folder.glob("*.json"))
    if not files:
        wrong("no dashboards")
    questions = [question for path in files for question in check(path.name, json.loads(path.read_text()), told)]
    rules = [{"record": f"question:{number}", "expr": question} for number, question in enumerate(questions)]
    json.dump({"groups": [{"name": "dashboards", "rules": rules}]}, sys.stdout)


main()
