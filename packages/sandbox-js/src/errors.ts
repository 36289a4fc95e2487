/** What goes wrong. Errors of code in a sandbox are not thrown, but data. */

/** Something was not done. */
export class SandboxError extends Error {
  /** The stable name of what went wrong, as the daemon has it. */
  readonly code: string;

  constructor(message: string, code = "error", options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** A command took too long, or the time of the sandbox is over. */
export class TimeoutError extends SandboxError {}
/** There is no such sandbox, file, command or context. */
export class NotFoundError extends SandboxError {}
/** What was asked for makes no sense. */
export class InvalidArgumentError extends SandboxError {}
/** The sandbox may write no more. */
export class NotEnoughSpaceError extends SandboxError {}
/** The policy of the daemon does not allow it, or the token is wrong. */
export class RefusedError extends SandboxError {}

/** A command ended with another status than 0. */
export class CommandExitError extends SandboxError {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
  /** `output` or `instructions`, if it was killed for that. */
  readonly error: string | undefined;

  constructor(stdout: string, stderr: string, exitCode: number, error: string | undefined) {
    super(`exit status ${exitCode}: ${stderr}`, "exit");
    this.stdout = stdout;
    this.stderr = stderr;
    this.exitCode = exitCode;
    this.error = error;
  }
}

const KINDS: Record<string, typeof SandboxError> = {
  not_found: NotFoundError,
  invalid: InvalidArgumentError,
  language: InvalidArgumentError,
  storage_full: NotEnoughSpaceError,
  refused: RefusedError,
  unauthorized: RefusedError,
};

/** @internal The error for one of the daemon. */
export function errorOf({ name = "error", message = "" }: { name?: string; message?: string }): SandboxError {
  const kind = name === "ended" && message.includes("time is over") ? TimeoutError : (KINDS[name] ?? SandboxError);
  return new kind(message, name);
}
