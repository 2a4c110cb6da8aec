#!/usr/bin/env bash
# Names what the machine lacks, together with the command that mends it.
set -u
python="${1:-python3}"
missing=0

say() { printf 'missing: %s\n   mend: %s\n' "$1" "$2" >&2; missing=1; }

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    found=$("$python" --version 2>&1 || echo none)
    say "Python 3.11 or newer ($python is: $found)" "apt-get install python3.11 python3.11-venv, or: brew install python@3.11; then make PYTHON=python3.11 ..."
elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    say "Python's venv module" "apt-get install python3-venv"
fi

java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
mend="apt-get install openjdk-17-jre-headless, or: brew install openjdk@17; or set JAVA_HOME to one"
if ! version=$("$java" -version 2>&1); then
    say "Java 17 or newer, which Spark runs on ($java does not start)" "$mend"
else
    major=$(printf '%s' "$version" | sed -nE 's/.*version "(1\.)?([0-9]+).*/\2/p' | head -1)
    if [ -z "$major" ] || [ "$major" -lt 17 ]; then
        say "Java 17 or newer, which Spark runs on (found $(printf '%s' "$version" | head -1))" "$mend"
    fi
fi
exit "$missing"
