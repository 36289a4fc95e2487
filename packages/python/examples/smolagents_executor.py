"""An agent of smolagents whose code runs in a sandbox: ``CodeAgent(…, executor=BoxerExecutor(logger))``.

``python3 smolagents_executor.py`` shows it with a model that always says the same, so that it needs no key:
``pip install smolagents ./packages/python``. The tools that smolagents sends import Pillow: the box needs it (Debian: python3-pil).
"""

from __future__ import annotations

from typing import Any, List

from boxer_sandbox import Sandbox
from smolagents import CodeAgent, Model, tool
from smolagents.models import ChatMessage, MessageRole
from smolagents.monitoring import AgentLogger
from smolagents.remote_executors import CodeOutput, RemotePythonExecutor
from smolagents.utils import AgentError


class BoxerExecutor(RemotePythonExecutor):
    """Runs an agent's code in a sandbox of its own. Options are those of :class:`Sandbox`."""

    def __init__(self, logger: AgentLogger, **options: Any) -> None:
        super().__init__([], logger)
        self.sandbox = Sandbox(**options)

    def run_code_raise_errors(self, code: str) -> CodeOutput:
        execution = self.sandbox.run_code(code)
        logs = "".join(execution.logs.stdout)
        error = execution.error
        if error is None:
            return CodeOutput(output=execution.text, logs=logs, is_final_answer=False)
        if error.name == self.FINAL_ANSWER_EXCEPTION:
            return CodeOutput(output=self._deserialize_final_answer(error.value), logs=logs, is_final_answer=True)
        raise AgentError(f"{logs}\n{error.traceback or f'{error.name}: {error.value}'}", self.logger)

    def install_packages(self, additional_imports: List[str]) -> List[str]:
        # A sandbox has no network unless it was given one. What code needs belongs into the image; what is missing, it hears of when it imports it.
        return additional_imports

    def cleanup(self) -> None:
        self.sandbox.kill()


@tool
def square(number: int) -> int:
    """Gives the square of a number.

    Args:
        number: The number.
    """
    return number * number


class Scripted(Model):
    """Says in turn what it was given."""

    def __init__(self, *says: str) -> None:
        super().__init__()
        self.says = list(says)

    def generate(self, messages: Any, **_: Any) -> ChatMessage:
        return ChatMessage(role=MessageRole.ASSISTANT, content=self.says.pop(0))


if __name__ == "__main__":
    steps = [
        "<code>\nimport os\nprint(os.uname().sysname, os.path.exists('/var/run/docker.sock'))\nx = square(6)\n</code>",
        "<code>\nprint(1 / 0)\n</code>",
        "<code>\nfinal_answer({'answer': x + 6})\n</code>",
    ]
    executor = BoxerExecutor(AgentLogger())
    with CodeAgent(tools=[square], model=Scripted(*steps), executor=executor) as agent:
        print(agent.run("What is six times seven?"))
