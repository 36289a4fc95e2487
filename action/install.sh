#!/usr/bin/env bash
# Puts boxer on the PATH of later steps, unless it is there: the release that the action's version names.
set -euo pipefail
if command -v boxer >/dev/null; then
    boxer --version
    exit 0
fi
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "::error::boxer has releases for Linux on x86-64 only; on $(uname -sm) build it with cargo and put it on the PATH"
    exit 1
fi
case "${ACTION_REF:-}" in
    v[0-9]*) ;;
    *)
        echo "::error::boxer is not on the PATH, and ${ACTION_REF:-this version of the action} is no release (v…)"
        exit 1
        ;;
esac
folder="$RUNNER_TEMP/boxer-bin"
address="${GITHUB_SERVER_URL:-https://github.com}/$ACTION_REPOSITORY/releases/download/$ACTION_REF"
archive=boxer-x86_64-unknown-linux-gnu.tar.gz
mkdir -p "$folder"
cd "$folder"
for file in "$archive" SHA256SUMS; do
    curl --fail --silent --show-error --location --retry 3 -o "$file" "$address/$file"
done
grep " $archive\$" SHA256SUMS | sha256sum --check --quiet
tar -xzf "$archive"
./boxer --version
echo "$folder" >>"$GITHUB_PATH"
