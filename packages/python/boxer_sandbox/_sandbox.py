"""What a sandbox is to programs that wait."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ._sync import BaseSandbox


class Sandbox(BaseSandbox):
    """A sandbox. ``Sandbox()`` and ``Sandbox.create()`` are the same; at the end of ``with`` it is killed."""

    def __init__(
        self,
        template: Optional[str] = None,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        envs: Optional[Dict[str, str]] = None,
        *,
        policy: Optional[Dict[str, Any]] = None,
        snapshot: Optional[str] = None,
        url: Optional[str] = None,
        token: Optional[str] = None,
    ) -> None:
        self._make(template, timeout, metadata, envs, policy, snapshot, url, token)
