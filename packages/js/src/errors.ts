/** What went wrong, for programs. */
export type BoxErrorCode =
  /** The bytes are no box: not WebAssembly, damaged, or cut off. */
  | "not-a-box"
  /** The file is a component; this package runs core modules (`-o type=wasm`). */
  | "component"
  /** The box was built by a boxer that could not step boxes. */
  | "too-old"
  /** The box needs something that this JavaScript engine lacks, or does not compile. */
  | "unsupported"
  /** The file could not be fetched or read. */
  | "unreachable"
  /** An argument makes no sense. */
  | "invalid-argument"
  /** Something is done already that is done once. */
  | "busy"
  /** No program has been started. */
  | "not-started"
  /** The box has ended. */
  | "ended"
  /** `terminate` was called. */
  | "terminated"
  /** The box broke: a fault of boxer's, or no memory. */
  | "crashed"
  /** A program cannot be started: there is none of that name, */
  | "no-such-program"
  /** it cannot be executed, */
  | "cannot-execute"
  /** its working directory cannot be entered, */
  | "no-such-directory"
  /** there is no such user, */
  | "no-such-user"
  /** or for another reason. */
  | "cannot-start"
  /** Nobody in the box takes connections at the port. */
  | "connection-refused"
  /** A connection broke, or what came is no HTTP. */
  | "connection-broken"
  /** What the box has written cannot be written to a directory of the page: no room, or no permission any more. */
  | "cannot-persist"
  /** The box cannot be frozen now. */
  | "cannot-freeze"
  /** Linux's error of a call on files, as in Node: `"ENOENT"`. */
  | `E${Uppercase<string>}`;

/** Every error of this package. `cause` has what is behind it, if something is. */
export class BoxError extends Error {
  override readonly name = "BoxError";
  readonly code: BoxErrorCode;

  constructor(code: BoxErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Linux's errors by number (errno(3)), those that files and processes give. */
const ERRNO: Record<number, [code: `E${Uppercase<string>}`, text: string]> = {
  1: ["EPERM", "operation not permitted"],
  2: ["ENOENT", "no such file or directory"],
  3: ["ESRCH", "no such process"],
  4: ["EINTR", "interrupted"],
  5: ["EIO", "input/output error"],
  6: ["ENXIO", "no such device"],
  7: ["E2BIG", "argument list too long"],
  8: ["ENOEXEC", "exec format error"],
  9: ["EBADF", "bad file"],
  11: ["EAGAIN", "too much at once"],
  12: ["ENOMEM", "cannot allocate memory"],
  13: ["EACCES", "permission denied"],
  16: ["EBUSY", "busy"],
  17: ["EEXIST", "file exists"],
  18: ["EXDEV", "another file system"],
  20: ["ENOTDIR", "not a directory"],
  21: ["EISDIR", "is a directory"],
  22: ["EINVAL", "invalid argument"],
  23: ["ENFILE", "too many open files"],
  24: ["EMFILE", "too many open files"],
  26: ["ETXTBSY", "text file busy"],
  27: ["EFBIG", "file too large"],
  28: ["ENOSPC", "no space left"],
  30: ["EROFS", "read-only file system"],
  31: ["EMLINK", "too many links"],
  36: ["ENAMETOOLONG", "name too long"],
  38: ["ENOSYS", "not implemented"],
  39: ["ENOTEMPTY", "directory not empty"],
  40: ["ELOOP", "too many symbolic links"],
  61: ["ENODATA", "no data"],
  95: ["EOPNOTSUPP", "operation not supported"],
};

/** An error of Linux, about `what`. */
export function systemError(errno: number, what: string): BoxError {
  const [code, text] = ERRNO[errno] ?? (["EIO", `error ${errno}`] as const);
  return new BoxError(code, `${code}: ${text}, ${what}`);
}
