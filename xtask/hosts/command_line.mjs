// The words of every script here: [--dir HOST GUEST]… [--env NAME=VALUE]… FILE [ARG…]
export function options(words) {
  const directories = [], env = [];
  const rest = [...words];
  while (rest[0]?.startsWith("--")) {
    if (rest.shift() === "--dir") directories.push({ host: rest.shift(), guest: rest.shift() });
    else env.push(rest.shift());
  }
  const [file, ...args] = rest;
  return { directories, env, file, args };
}

/// Variables as an object.
export function named(env) {
  return Object.fromEntries(env.map((variable) => [variable.slice(0, variable.indexOf("=")), variable.slice(variable.indexOf("=") + 1)]));
}
