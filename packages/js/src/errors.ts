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
  /** The box runs a program already. */
  | "busy"
  /** No program has been started. */
  | "not-started"
  /** The box has ended. */
  | "ended"
  /** `terminate` was called. */
  | "terminated"
  /** The box broke: a fault of boxer's, or no memory. */
  | "crashed"
  /** Nobody in the box takes connections at the port. */
  | "connection-refused"
  /** A connection broke, or what came is no HTTP. */
  | "connection-broken"
  /** The box cannot be frozen now. */
  | "cannot-freeze";

/** Every error of this package. `cause` has what is behind it, if something is. */
export class BoxError extends Error {
  override readonly name = "BoxError";
  readonly code: BoxErrorCode;

  constructor(code: BoxErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
