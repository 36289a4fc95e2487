"""Writes a wheel that carries the program: wheel.py VERSION GLIBC SUMMARY HOME TREE OUT; prints the file's name.

The format is PyPA's "binary distribution format"; the tag is that of PEP 600.
"""

import base64
import hashlib
import pathlib
import sys
import zipfile

version, glibc, summary, home, tree, out = sys.argv[1:]
tag = f"py3-none-manylinux_{glibc.replace('.', '_')}_x86_64"
name = f"boxer_wasm-{version}"
info = f"{name}.dist-info"
files = {
    f"{name}.data/scripts/boxer": (pathlib.Path(tree, "boxer").read_bytes(), 0o755),
    f"{info}/LICENSE": (pathlib.Path(tree, "LICENSE").read_bytes(), 0o644),
    f"{info}/METADATA": (
        (
            f"Metadata-Version: 2.1\nName: boxer-wasm\nVersion: {version}\nSummary: {summary}\nHome-page: {home}\n"
            "License: Apache-2.0\nRequires-Python: >=3.7\nDescription-Content-Type: text/markdown\n\n"
        ).encode()
        + pathlib.Path(tree, "README.md").read_bytes(),
        0o644,
    ),
    f"{info}/WHEEL": (
        f"Wheel-Version: 1.0\nGenerator: boxer\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        0o644,
    ),
}


def record(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}\n"


lines = "".join(record(path, content) for path, (content, _) in files.items())
files[f"{info}/RECORD"] = ((lines + f"{info}/RECORD,,\n").encode(), 0o644)
wheel = pathlib.Path(out, f"{name}-{tag}.whl")
with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
    for path, (content, mode) in files.items():
        entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = (0o100000 | mode) << 16
        archive.writestr(entry, content)
print(wheel)
