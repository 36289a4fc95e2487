"""docs/hosts.md's table from what was seen: between two marks of the page."""

BEGIN, END = "<!-- from the run -->\n", "<!-- end -->\n"


def table(hosts, cells, features):
    """`cells`: (label, box, feature) → what was seen."""
    lines = ["| host | version | form | command | works | the host cannot |", "|---|---|---|---|---|---|"]
    for host in hosts:
        for form in host["forms"]:
            label = f"{host['name']}, {form}"
            seen = {title: [cell for (at, _, feature), (cell, _) in cells.items() if (at, feature) == (label, title)] for title in features}
            seen = {title: found for title, found in seen.items() if found}
            if not seen:
                continue
            cannot, works, fails = [], 0, []
            for title, found in seen.items():
                reasons = {cell.removeprefix("host: ") for cell in found if cell.startswith("host: ")}
                if "fail" in found:
                    fails.append(title)
                elif reasons:
                    cannot.append(f"{title}: {', '.join(sorted(reasons))}")
                else:
                    works += 1
            limits = "; ".join(cannot) or "–"
            if fails:
                limits += f"; **fails**: {', '.join(fails)}"
            command = f"`{host['command']}`".replace("|", "\\|") if "command" in host else "as above"
            boxes = len({box for (at, box, _) in cells if at == label})
            lines.append(
                f"| {host['name']} | {host.get('version', '')} | {form}{box_of(host, form)} | {command} | {works} of {len(seen)}, {boxes} {'box' if boxes == 1 else 'boxes'} | {limits} |"
            )
    return "\n".join(lines) + "\n"


def box_of(host, form):
    built = {"plain": ", built with `--translate=none`"}
    return built.get(host.get("box"), "") if form == "module" else ""


def figures(hosts, cells):
    """Percent of a processor while nothing happens, and seconds for 3 MB of output."""
    titles = ("sleeping idle", "waiting for input idle", "3 MB of output")
    lines = ["| host | form | sleeping | waiting for input | 3 MB of output |", "|---|---|---|---|---|"]
    for host in hosts:
        for form in host["forms"]:
            label = f"{host['name']}, {form}"
            row = [worst(cells, label, title) for title in titles]
            if any(row):
                lines.append(f"| {host['name']} | {form} | {' | '.join(cell or '–' for cell in row)} |")
    return "\n".join(lines) + "\n"


def worst(cells, label, title):
    measured = [value for (at, _, feature), (_, value) in cells.items() if (at, feature) == (label, title) and value]
    return max(measured, key=lambda text: float(text.split()[0]), default=None)


def write(path, hosts, cells, features):
    with open(path) as file:
        page = file.read()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    text = table(hosts, cells, features) + "\nUser and system time over wall time, and seconds (the largest of the boxes):\n\n" + figures(hosts, cells)
    with open(path, "w") as file:
        file.write(before + BEGIN + text + END + after)
