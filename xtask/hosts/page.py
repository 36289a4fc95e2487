"""docs/hosts.md's table from what was seen: between two marks of the page."""

import re

BEGIN, END = "<!-- from the run -->\n", "<!-- end -->\n"
MEASURED = ("sleeping idle", "waiting for input idle", "3 MB of output")


def table(hosts, cells, features):
    lines = ["| host | version | form | command | works | the host cannot |", "|---|---|---|---|---|---|"]
    for host in hosts:
        for form in host["forms"]:
            seen = cells.of(host["name"], form)
            if not seen:
                continue
            boxes = sorted({box for box, _ in seen})
            titles = [title for title in features if any((box, title) in seen for box in boxes)]
            told = {title: [seen[box, title][0] for box in boxes if (box, title) in seen] for title in titles}
            tried = {box: sum((box, title) in seen for title in titles) for box in boxes}
            on = [box if tried[box] == len(titles) else f"{box} ({tried[box]} of them)" for box in boxes]
            works = sum(all(cell.startswith("ok") for cell in said) for said in told.values())
            command = f"`{host['command']}`".replace("|", "\\|") if "command" in host else "as above"
            lines.append(
                f"| {host['name']} | {host.get('version', '')} | {form}{box_of(host, form)} | {command} "
                f"| {works} of {len(titles)} on {', '.join(on)} | {limits(told)} |"
            )
    return "\n".join(lines) + "\n"


def limits(told):
    """By reason, since one often takes several features."""
    reasons = {}
    for title, said in told.items():
        for reason in worst_of({cell.removeprefix("host: ") for cell in said if cell.startswith("host: ")}):
            reasons.setdefault(reason, []).append(title)
    texts = [f"{', '.join(titles)}: {reason}" for reason, titles in reasons.items()]
    for title, said in told.items():
        for cell in worst_of({cell for cell in said if cell.startswith("fail")}):
            texts.append(f"**{title}**: {cell.removeprefix('fail: ')}")
    return "; ".join(texts) or "–"


def worst_of(texts):
    """All that are said, but of those that tell how many times as long something takes the largest."""
    times = re.compile(r"(\d+) times as long")
    slow = [text for text in texts if times.search(text)]
    return sorted(texts - set(slow)) + sorted(slow, key=lambda text: int(times.search(text)[1]))[-1:]


def box_of(host, form):
    built = {"plain": ", built with `--translate=none`", "nosimd": ", built with `--no-simd`"}
    return built.get(host.get("box"), "") if form == "module" else ""


def figures(hosts, cells):
    """Percent of a processor while nothing happens, and seconds for 3 MB of output."""
    lines = ["| host | form | sleeping | waiting for input | 3 MB of output |", "|---|---|---|---|---|"]
    for host in hosts:
        for form in host["forms"]:
            row = [worst(cells.of(host["name"], form), title) for title in MEASURED]
            if any(row):
                lines.append(f"| {host['name']} | {form} | {' | '.join(cell or '–' for cell in row)} |")
    return "\n".join(lines) + "\n"


def worst(seen, title):
    measured = [value for (_, feature), (_, value) in seen.items() if feature == title and value]
    return max(measured, key=lambda text: float(text.split()[0]), default=None)


def write(path, hosts, cells, features):
    with open(path) as file:
        page = file.read()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    text = table(hosts, cells, features) + "\nUser and system time over wall time, and seconds (the largest of the boxes):\n\n" + figures(hosts, cells)
    with open(path, "w") as file:
        file.write(before + BEGIN + text + END + after)
